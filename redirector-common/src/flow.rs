//! The addresses and ports by which a route is chosen.

use core::net::IpAddr;

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

    /// The word for it in routes, files and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// An address in wire order. An IPv4 address takes the first four bytes, the rest is zero: a prefix of
/// either family then starts at the first bit, as an LPM trie wants it. The family stands beside it.
///
/// Kept as words, each of them in wire order like the kernel's `__be32`, so that programs copy and compare it so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address([u32; 4]);

impl Address {
    /// An IPv4 address from its bytes in wire order.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(octets), 0, 0, 0])
    }

    /// An IPv6 address from its bytes in wire order.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ])
    }

    /// An IPv6 address from halves of words in wire order.
    #[inline(always)]
    pub const fn from_halves(halves: [u16; 8]) -> Self {
        const fn word(first: u16, second: u16) -> u32 {
            let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
            u32::from_ne_bytes([a, b, c, d])
        }
        let [a, b, c, d, e, f, g, h] = halves;
        Self([word(a, b), word(c, d), word(e, f), word(g, h)])
    }

    /// An address from words in wire order; for IPv4 all but the first are zero.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The words, each in wire order.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.0
    }

    /// The bytes in wire order; for IPv4 all but the first four are zero.
    pub fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }

    /// As the standard library has it.
    pub fn ip(&self, family: Family) -> IpAddr {
        match (family, self.octets()) {
            (Family::V4, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
            (Family::V6, octets) => IpAddr::from(octets),
        }
    }

    /// Whether a packet with this address on the wire, as source or destination, is never redirected.
    ///
    /// IPv4: "this network", loopback, link-local, multicast, class E and the limited broadcast. IPv6:
    /// multicast, link-local and all of `::/64`, which holds the unspecified, the loopback and the IPv4-mapped
    /// addresses. RFC 6890 lists them.
    #[inline(always)]
    pub const fn never_redirected(&self, family: Family) -> bool {
        let first = u32::from_be(self.0[0]);
        match family {
            Family::V4 => {
                matches!(first >> 24, 0 | 127 | 224..) || first >> 16 == 0xa9fe // 169.254
            }
            Family::V6 => first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6 || (first | self.0[1]) == 0,
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

impl Flow {
    /// Whether one of its addresses is of a kind that is left alone whatever the routes say.
    #[inline(always)]
    pub const fn never_redirected(&self) -> bool {
        self.destination.never_redirected(self.family) || self.source.never_redirected(self.family)
    }
}
