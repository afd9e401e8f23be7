//! The addresses and ports by which a route is chosen.

/// The address family of a packet or of a route's atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4
    V4 = 0,
    /// IPv6
    V6 = 1,
}

impl Family {
    /// How many families there are.
    pub const COUNT: u32 = 2;

    /// Length of an address, in bits.
    pub const fn address_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// The transport protocol of a packet or of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// TCP
    Tcp = 0,
    /// UDP
    Udp = 1,
}

impl Protocol {
    /// How many protocols there are.
    pub const COUNT: u32 = 2;
}

/// An address in wire order. An IPv4 address takes the first four bytes, the rest is zero: a prefix of
/// either family then starts at the first bit, as an LPM trie wants it. The family stands beside it.
///
/// Aligned to four bytes, so that programs copy and compare it by words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, align(4))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// An IPv4 address, in wire order.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Whether a packet with this address on the wire, as source or destination, is never redirected.
    ///
    /// IPv4: "this network", loopback, link-local, multicast, class E and the limited broadcast. IPv6:
    /// multicast, link-local and all of `::/80`, which holds the unspecified, the loopback and the IPv4-mapped
    /// addresses. RFC 6890 lists them.
    #[inline(always)]
    pub const fn never_redirected(&self, family: Family) -> bool {
        let b = &self.0;
        match family {
            Family::V4 => b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 169 && b[1] == 254),
            Family::V6 => {
                b[0] == 0xff
                    || (b[0] == 0xfe && b[1] & 0xc0 == 0x80)
                    || (b[0] | b[1] | b[2] | b[3] | b[4] | b[5] | b[6] | b[7] | b[8] | b[9]) == 0
            }
        }
    }
}

/// What a route is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Family of both addresses.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Who opened the connection.
    pub source: Address,
    /// Where it wanted to go: the original destination.
    pub destination: Address,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
}
