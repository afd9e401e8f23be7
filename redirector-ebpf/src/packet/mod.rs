//! From bytes to a segment of TCP or a datagram of UDP: the headers in wire order, one bounds check each.

use core::mem::offset_of;

use aya_ebpf::programs::TcContext;
use network_types::{
    eth::EtherType,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};
use redirector_common::{Address, Family, Protocol, Reason};

use crate::{link::Link, maps::settings};
use transport::Flags;

use ipv4::is_fragment;
pub use look::Shape;
pub use segment::Segment;

mod extension;
mod icmp_error;
mod ipv4;
mod ipv6;
pub mod look;
mod segment;
mod transport;

/// The most that the headers behind the link's take: IPv4 with all its options, TCP without any.
const MAX_HEADERS: u32 = (60 + TcpHdr::LEN) as u32;

/// What the headers of a packet say, but for its addresses.
pub struct Headers {
    pub family: Family,
    pub protocol: Protocol,
    /// Host order.
    pub destination_port: u16,
    /// Host order.
    pub source_port: u16,
    /// Where the transport header begins, in bytes from the start of the packet.
    transport: u16,
    flags: Flags,
}

/// Where the transport header is.
struct Transport {
    protocol: Protocol,
    /// In bytes from the start of the packet.
    at: usize,
    /// How many bytes the IP header leaves it, and what it carries.
    room: usize,
}

/// Types of packets as `protocol` has them: in wire order.
const ETH_P_IP: u16 = EtherType::Ipv4 as u16;
const ETH_P_IPV6: u16 = EtherType::Ipv6 as u16;
const ETH_P_8021Q: u16 = EtherType::Ieee8021q as u16;
const ETH_P_8021AD: u16 = EtherType::Ieee8021ad as u16;

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
        self.flags.opens()
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
            transport: self.transport,
            network: L::NETWORK as u8,
            is_v6: self.family as u8,
            is_udp: self.protocol as u8,
            flags: self.flags,
            fragment: 0,
        })
    }
}

/// An address at an offset, read by halves of words, which is as much as the Ethernet header leaves aligned.
#[inline(always)]
fn ipv6_address(ctx: &TcContext, offset: usize) -> Result<Address, Reason> {
    Ok(Address::from_halves(*header::<[u16; 8]>(ctx, offset)?))
}

/// What the packet's headers say, or why it is nothing that we understand.
#[inline(always)]
pub fn headers<L: Link>(ctx: &TcContext) -> Result<Headers, Reason> {
    if is_of_a_vlan(ctx) {
        return Err(Reason::Vlan);
    }
    match linear::<L>(ctx) {
        Err(Reason::Truncated) if make_linear::<L>(ctx) => linear::<L>(ctx),
        headers => headers,
    }
}

/// Whether the packet has a tag that names a VLAN. One that names none, for its priority only, the kernel takes off and goes on
/// (net/core/dev.c, `__netif_receive_skb_core`, `check_vlan_id`).
#[inline(always)]
fn is_of_a_vlan(ctx: &TcContext) -> bool {
    const VLAN_VID_MASK: u32 = 0xfff;
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let is_tagged = unsafe { (*ctx.skb.skb).vlan_present } != 0;
    // SAFETY: as above.
    is_tagged && unsafe { (*ctx.skb.skb).vlan_tci } & VLAN_VID_MASK != 0
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

/// The same, of the part of the packet that can be read.
#[inline(always)]
fn linear<L: Link>(ctx: &TcContext) -> Result<Headers, Reason> {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let protocol = unsafe { (*ctx.skb.skb).protocol };
    // Not from the Ethernet header, which some links do not have.
    let (family, Transport { protocol, at, room }) = match protocol as u16 {
        ETH_P_IP => (Family::V4, ipv4::transport::<L>(ctx)?),
        ETH_P_IPV6 => (Family::V6, ipv6::transport::<L>(ctx)?),
        ETH_P_8021Q | ETH_P_8021AD => return Err(Reason::Vlan),
        _ => return Err(Reason::NotIp),
    };
    let ports = transport::ports(ctx, protocol, at, room)?;
    Ok(Headers {
        family,
        protocol,
        destination_port: ports.destination,
        source_port: ports.source,
        transport: at as u16,
        flags: ports.flags,
    })
}

impl Transport {
    /// Behind an IP header, whose statement of the total length (0: too long for its field, as only GSO packets are) is
    /// checked against the packet's and against the headers.
    #[inline(always)]
    fn within<L: Link>(
        ctx: &TcContext,
        protocol: Protocol,
        total: usize,
        header_length: usize,
    ) -> Result<Self, Reason> {
        let at = L::NETWORK + header_length;
        if total == 0 {
            return if is_gso(ctx) {
                Ok(Self { protocol, at, room: usize::MAX })
            } else {
                Err(Reason::Malformed)
            };
        }
        if total < header_length {
            return Err(Reason::Malformed);
        }
        let room = total - header_length;
        if room < transport::least(protocol) || L::NETWORK + total > ctx.len() as usize {
            return Err(Reason::Truncated);
        }
        Ok(Self { protocol, at, room })
    }
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

/// A header at an offset, wherever the packet has it.
#[inline(always)]
fn load<T>(ctx: &TcContext, offset: usize) -> Result<T, Reason> {
    ctx.load(offset).map_err(|_| Reason::Truncated)
}
