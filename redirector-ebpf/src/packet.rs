//! From bytes to a TCP segment: the headers in wire order, one bounds check each.

use core::mem::offset_of;

use aya_ebpf::programs::TcContext;
use network_types::{
    eth::EtherType,
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};
use redirector_common::{Address, Family, Flow, Protocol, Reason};

use crate::{link::Link, maps::settings};

/// The most that the headers behind the link's take: IPv4 with all its options, TCP without any.
const MAX_HEADERS: u32 = (60 + TcpHdr::LEN) as u32;

/// What the headers of a TCP segment say, but for its addresses.
pub struct Headers {
    pub family: Family,
    /// Host order.
    pub destination_port: u16,
    /// Host order.
    source_port: u16,
    /// Where TCP begins, in bytes from the start of the packet.
    transport: u8,
    flags: u8,
}

/// A TCP segment whose headers were checked, as the global functions are given it: of what the verifier forgets on the way, no
/// number is larger than it may be.
#[repr(C)]
pub struct Segment {
    source: Address,
    destination: Address,
    /// Host order.
    source_port: u16,
    /// Host order.
    destination_port: u16,
    /// Zero for IPv4. Not a [`Family`]: of that the compiler would know more than the verifier.
    is_v6: u8,
    /// Where the IP header begins, in bytes from the start of the packet.
    pub network: u8,
    /// Where TCP begins, in bytes from the start of the packet.
    pub transport: u8,
    flags: u8,
}

/// Types of packets as `protocol` has them: in wire order.
const ETH_P_IP: u16 = EtherType::Ipv4 as u16;
const ETH_P_IPV6: u16 = EtherType::Ipv6 as u16;
const ETH_P_8021Q: u16 = EtherType::Ieee8021q as u16;
const ETH_P_8021AD: u16 = EtherType::Ieee8021ad as u16;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Segment {
    /// What its route is chosen by.
    #[inline(always)]
    pub fn flow(&self) -> Flow {
        Flow {
            family: if self.is_v6 == 0 { Family::V4 } else { Family::V6 },
            protocol: Protocol::Tcp,
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
        }
    }

    /// Whether it may start a connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        opens(self.flags)
    }

    /// Whether it ends a connection at once.
    #[inline(always)]
    pub fn resets(&self) -> bool {
        self.flags & RST != 0
    }

    /// Whether it may be the last step of a handshake.
    #[inline(always)]
    pub fn acknowledges(&self) -> bool {
        self.flags & (SYN | ACK | RST) == ACK
    }
}

impl Headers {
    /// Where the packet wants to go.
    #[inline(always)]
    pub fn destination<L: Link>(&self, ctx: &TcContext) -> Result<Address, Reason> {
        match self.family {
            Family::V4 => Ok(Address::v4(header::<Ipv4Hdr>(ctx, L::NETWORK)?.dst_addr)),
            Family::V6 => ipv6_address(ctx, L::NETWORK + offset_of!(Ipv6Hdr, dst_addr)),
        }
    }

    /// Whether it may start a connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        opens(self.flags)
    }

    /// The whole segment.
    #[inline(always)]
    pub fn segment<L: Link>(&self, ctx: &TcContext, destination: Address) -> Result<Segment, Reason> {
        let source = match self.family {
            Family::V4 => Address::v4(header::<Ipv4Hdr>(ctx, L::NETWORK)?.src_addr),
            Family::V6 => ipv6_address(ctx, L::NETWORK + offset_of!(Ipv6Hdr, src_addr))?,
        };
        Ok(Segment {
            source,
            destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            is_v6: self.family as u8,
            network: L::NETWORK as u8,
            transport: self.transport,
            flags: self.flags,
        })
    }
}

/// An address at an offset, read by halves of words, which is as much as the Ethernet header leaves aligned.
#[inline(always)]
fn ipv6_address(ctx: &TcContext, offset: usize) -> Result<Address, Reason> {
    Ok(Address::from_halves(*header::<[u16; 8]>(ctx, offset)?))
}

/// Whether a segment may start a connection; what a listener ignores does not
/// (<https://github.com/torvalds/linux/blob/v6.18/net/ipv4/tcp_input.c>, `tcp_rcv_state_process`, TCP_LISTEN).
#[inline(always)]
fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// What the packet's headers say, or why it is not a TCP segment that we understand.
#[inline(always)]
pub fn headers<L: Link>(ctx: &TcContext) -> Result<Headers, Reason> {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let tagged = unsafe { (*ctx.skb.skb).vlan_present } != 0;
    if tagged {
        return Err(Reason::Vlan);
    }
    match tcp::<L>(ctx) {
        Err(Reason::Truncated) if make_linear::<L>(ctx) => tcp::<L>(ctx),
        headers => headers,
    }
}

/// Whether the packet is for us to redirect, wherever its addresses lead.
///
/// # Errors
///
/// Why it is not.
#[inline(always)]
pub fn for_us<L: Link>(ctx: &TcContext) -> Result<(), Reason> {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let pkt_type = unsafe { (*ctx.skb.skb).pkt_type };
    if !L::is_for_us(pkt_type) {
        return Err(Reason::OtherHost);
    }
    if settings().is_some_and(|settings| mark(ctx) & settings.seen != 0) {
        return Err(Reason::Marked);
    }
    Ok(())
}

/// The packet's mark.
#[inline(always)]
pub fn mark(ctx: &TcContext) -> u32 {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    unsafe { (*ctx.skb.skb).mark }
}

#[inline(always)]
fn tcp<L: Link>(ctx: &TcContext) -> Result<Headers, Reason> {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let protocol = unsafe { (*ctx.skb.skb).protocol };
    // Not from the Ethernet header, which some links do not have.
    let (family, transport) = match protocol as u16 {
        ETH_P_IP => (Family::V4, ipv4::<L>(ctx)?),
        ETH_P_IPV6 => (Family::V6, ipv6::<L>(ctx)?),
        ETH_P_8021Q | ETH_P_8021AD => return Err(Reason::Vlan),
        _ => return Err(Reason::NotIp),
    };
    let tcp = header::<TcpHdr>(ctx, transport)?;
    if tcp.doff() < 5 {
        return Err(Reason::Malformed);
    }
    Ok(Headers {
        family,
        transport: transport as u8,
        source_port: u16::from_be_bytes(tcp.source),
        destination_port: u16::from_be_bytes(tcp.dest),
        flags: flags(tcp),
    })
}

/// Offset of the TCP header behind an IPv4 header.
#[inline(always)]
fn ipv4<L: Link>(ctx: &TcContext) -> Result<usize, Reason> {
    let ip = header::<Ipv4Hdr>(ctx, L::NETWORK)?;
    let header_length = usize::from(ip.ihl());
    if ip.version() != 4 || header_length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    if ip.proto != IpProto::Tcp as u8 {
        return Err(Reason::OtherProtocol);
    }
    if ip.frag_offset() != 0 || ip.frag_flags() & MORE_FRAGMENTS != 0 {
        return Err(Reason::Fragment);
    }
    enough::<L>(ctx, usize::from(u16::from_be_bytes(ip.tot_len)), header_length)?;
    Ok(L::NETWORK + header_length)
}

/// Bit of the three flags in front of the fragment offset.
const MORE_FRAGMENTS: u8 = 0b001;

/// Offset of the TCP header behind an IPv6 header.
#[inline(always)]
fn ipv6<L: Link>(ctx: &TcContext) -> Result<usize, Reason> {
    let ip = header::<Ipv6Hdr>(ctx, L::NETWORK)?;
    if ip.version() != 6 {
        return Err(Reason::Malformed);
    }
    match ip.next_hdr() {
        Ok(IpProto::Tcp) => {}
        Ok(IpProto::Ipv6Frag) => return Err(Reason::Fragment),
        Ok(IpProto::HopOpt | IpProto::Ipv6Route | IpProto::Ipv6Opts | IpProto::Ah) => {
            return Err(Reason::ExtensionHeader);
        }
        _ => return Err(Reason::OtherProtocol),
    }
    let payload = usize::from(u16::from_be_bytes(ip.payload_len));
    let total = if payload == 0 { 0 } else { Ipv6Hdr::LEN + payload };
    enough::<L>(ctx, total, Ipv6Hdr::LEN)?;
    Ok(L::NETWORK + Ipv6Hdr::LEN)
}

/// Checks the length that the IP header states (0: too long for its field, as only GSO packets are) against the
/// packet's and against the headers.
#[inline(always)]
fn enough<L: Link>(ctx: &TcContext, total: usize, header_length: usize) -> Result<(), Reason> {
    if total == 0 {
        return if is_gso(ctx) { Ok(()) } else { Err(Reason::Malformed) };
    }
    if total < header_length {
        return Err(Reason::Malformed);
    }
    if total < header_length + TcpHdr::LEN || L::NETWORK + total > ctx.len() as usize {
        return Err(Reason::Truncated);
    }
    Ok(())
}

/// Whether the packet stands for several segments.
#[inline(always)]
pub fn is_gso(ctx: &TcContext) -> bool {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    unsafe { (*ctx.skb.skb).gso_size != 0 }
}

/// Brings the headers into the part of the packet that programs can read, if they are not all there: drivers that
/// build packets from pages leave as little as the Ethernet header. Whether there is more to read now.
///
/// Only when it is needed. A sender on this host leaves the payload outside, and to bring that in copies the packet's
/// head, which costs more than all the rest of the program.
#[inline(always)]
fn make_linear<L: Link>(ctx: &TcContext) -> bool {
    let most = L::NETWORK as u32 + MAX_HEADERS;
    let readable = (ctx.data_end() - ctx.data()) as u32;
    let wanted = if ctx.len() < most { ctx.len() } else { most };
    readable < wanted && ctx.pull_data(wanted).is_ok()
}

/// A header at an offset, which must be borrowed anew after whatever may move the packet.
///
/// Inlined, for the verifier refuses arithmetic on the packet's end in a subprogram.
#[inline(always)]
pub fn header<T>(ctx: &TcContext, offset: usize) -> Result<&T, Reason> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return Err(Reason::Truncated);
    }
    // SAFETY: the whole header lies within the packet, as just checked, and the headers used here are made of
    // bytes, so that any address and any content is valid. Addresses are made of halves of words: packets begin at even
    // addresses, and the verifier refuses what the machine cannot read otherwise.
    Ok(unsafe { &*(start as *const T) })
}

/// The byte of flags, from FIN (lowest bit) to CWR.
#[inline(always)]
fn flags(tcp: &TcpHdr) -> u8 {
    (tcp.fin() | tcp.syn() << 1 | tcp.rst() << 2 | tcp.ack() << 4) as u8
}
