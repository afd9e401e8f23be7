//! A closer look at packets whose transport header does not stand behind the IP header, or is not their own: fragments,
//! extension headers, ICMP errors. Nothing here need be in the part of the packet that programs can read.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use core::mem::offset_of;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use redirector_common::{Address, Family, Protocol, Reason};

use super::{
    Segment,
    extension::{self, part},
    icmp_error, is_fragment, is_gso, load,
    transport::{self, Ports},
};
use crate::{decide, locals};

/// What a packet turned out to be, and, of a fragment, the number by which its sender knows the whole; or a reason why it is
/// none of ours, or a fragment that the host puts together. One number, for the global functions.
#[derive(Clone, Copy)]
pub struct Shape(pub u64);

impl Shape {
    /// A whole packet behind extension headers.
    pub const WHOLE: u8 = 1;
    /// The beginning of a packet, with the whole transport header.
    pub const FIRST: u8 = 2;
    /// The beginning of a packet, without that.
    pub const TINY: u8 = 3;
    /// Another part of a packet, of which only the addresses are known.
    pub const LATER: u8 = 4;
    /// An ICMP error. The segment is one that its receiver would get from whom it had written to.
    pub const ICMP_ERROR: u8 = 5;

    #[inline(always)]
    fn of(kind: u8, identification: u32) -> Self {
        Self(u64::from(identification) << 32 | u64::from(kind) << 8)
    }

    /// One of the above, or zero: there is a reason.
    #[inline(always)]
    pub fn kind(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    pub fn identification(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub fn reason(self) -> Reason {
        decide::reason(self.0 as u32 & 0xff)
    }
}

impl From<Reason> for Shape {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self(reason as u64)
    }
}

/// Looks at the packet whose IP header is at an offset, fills the segment in, and says the packet's [`Shape`].
#[inline(always)]
pub fn shape(ctx: *mut __sk_buff, segment: *mut Segment, network: u32) -> Shape {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let is_ipv4 = unsafe { (*ctx).protocol } as u16 == super::ETH_P_IP;
    Shape(if is_ipv4 { look_v4(ctx, segment, network) } else { look_v6(ctx, segment, network) })
}

/// Global for the verifier's sake, as [`decide`](crate::decide).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn look_v4(ctx: *mut __sk_buff, segment: *mut Segment, network: u32) -> u64 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_mut() }) else { return Shape::from(Reason::Truncated).0 };
    ipv4(&TcContext::new(ctx), segment, network as usize & 0xff).unwrap_or_else(Shape::from).0
}

/// The same for IPv6.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn look_v6(ctx: *mut __sk_buff, segment: *mut Segment, network: u32) -> u64 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_mut() }) else { return Shape::from(Reason::Truncated).0 };
    ipv6(&TcContext::new(ctx), segment, network as usize & 0xff).unwrap_or_else(Shape::from).0
}

#[inline(always)]
fn ipv4(ctx: &TcContext, segment: &mut Segment, network: usize) -> Result<Shape, Reason> {
    let ip: Ipv4Hdr = load(ctx, network)?;
    let at = network + usize::from(ip.ihl());
    let end = end(ctx, network, at, usize::from(u16::from_be_bytes(ip.tot_len)))?;
    segment.network = network as u8;
    segment.source = Address::v4(ip.src_addr);
    segment.destination = Address::v4(ip.dst_addr);
    if ip.proto == IpProto::Icmp as u8 {
        if is_fragment(&ip) {
            return Err(Reason::OtherProtocol);
        }
        return icmp_error::ipv4(ctx, segment, at, end).map(|()| Shape::of(Shape::ICMP_ERROR, 0));
    }
    let protocol = transport::protocol(ip.proto).ok_or(Reason::OtherProtocol)?;
    segment.is_udp = protocol as u8;
    let identification = ip.id().into();
    if locals::contains(Family::V4, &segment.destination) {
        return Err(Reason::Fragment);
    }
    if ip.frag_offset() != 0 {
        return Ok(Shape::of(Shape::LATER, identification));
    }
    first(ctx, segment, protocol, at, end, identification)
}

#[inline(always)]
fn ipv6(ctx: &TcContext, segment: &mut Segment, network: usize) -> Result<Shape, Reason> {
    let payload: [u8; 2] = load(ctx, network + offset_of!(Ipv6Hdr, payload_len))?;
    let (begin, payload) = (network + Ipv6Hdr::LEN, usize::from(u16::from_be_bytes(payload)));
    let total = if payload == 0 { 0 } else { Ipv6Hdr::LEN + payload };
    let end = end(ctx, network, begin, total)?;
    segment.network = network as u8;
    segment.is_v6 = Family::V6 as u8;
    [segment.source, segment.destination] = ipv6_addresses(ctx, network)?;
    let chain = extension::walk(ctx, network, end)?;
    let (protocol, at) = (transport::protocol(chain.next), chain.at as usize);
    if chain.part == part::WHOLE {
        return match protocol {
            Some(protocol) => {
                read(ctx, segment, protocol, at, end, end.saturating_sub(at))?;
                Ok(Shape::of(Shape::WHOLE, 0))
            }
            None => icmp_error::ipv6(ctx, segment, at, end).map(|()| Shape::of(Shape::ICMP_ERROR, 0)),
        };
    }
    if locals::contains(Family::V6, &segment.destination) {
        return Err(Reason::Fragment);
    }
    let identification: [u8; 4] = load(ctx, chain.fragment as usize + 4)?;
    let identification = u32::from_be_bytes(identification);
    segment.fragment = chain.fragment as u16;
    match (chain.part, protocol) {
        (part::FIRST, Some(protocol)) => first(ctx, segment, protocol, at, end, identification),
        (part::FIRST, None) => Err(Reason::OtherProtocol),
        (part::TINY, _) => Ok(Shape::of(Shape::TINY, identification)),
        _ => Ok(Shape::of(Shape::LATER, identification)),
    }
}

/// Source and destination of a packet whose IP header is at an offset.
///
/// # Errors
///
/// The packet ends before.
#[inline(always)]
pub fn addresses(ctx: &TcContext, family: Family, network: usize) -> Result<[Address; 2], Reason> {
    match family {
        Family::V4 => {
            let [source, destination] = load(ctx, network + offset_of!(Ipv4Hdr, src_addr))?;
            Ok([Address::v4(source), Address::v4(destination)])
        }
        Family::V6 => ipv6_addresses(ctx, network),
    }
}

/// The same of IPv6.
#[inline(always)]
pub fn ipv6_addresses(ctx: &TcContext, network: usize) -> Result<[Address; 2], Reason> {
    load(ctx, network + offset_of!(Ipv6Hdr, src_addr))
}

/// Where the packet ends that says this of its length from the IP header on (0: too long for its field, as only GSO
/// packets are).
#[inline(always)]
fn end(ctx: &TcContext, network: usize, begin: usize, total: usize) -> Result<usize, Reason> {
    let length = ctx.len() as usize;
    if total == 0 {
        return if is_gso(ctx) { Ok(length) } else { Err(Reason::Malformed) };
    }
    let end = network + total;
    if end < begin {
        return Err(Reason::Malformed);
    }
    if end > length { Err(Reason::Truncated) } else { Ok(end) }
}

/// The first fragment of a packet.
#[inline(always)]
fn first(
    ctx: &TcContext,
    segment: &mut Segment,
    protocol: Protocol,
    at: usize,
    end: usize,
    identification: u32,
) -> Result<Shape, Reason> {
    // What the UDP header says is of all fragments together.
    match read(ctx, segment, protocol, at, end, usize::MAX) {
        Ok(()) => Ok(Shape::of(Shape::FIRST, identification)),
        Err(Reason::Truncated) => Ok(Shape::of(Shape::TINY, identification)),
        Err(reason) => Err(reason),
    }
}

/// Reads the transport header at an offset. So much room does the IP header leave it, and what it carries.
#[inline(always)]
fn read(
    ctx: &TcContext,
    segment: &mut Segment,
    protocol: Protocol,
    at: usize,
    end: usize,
    room: usize,
) -> Result<(), Reason> {
    if at + transport::least(protocol) > end {
        return Err(Reason::Truncated);
    }
    segment.is_udp = protocol as u8;
    segment.transport = at as u16;
    match read_transport(ctx.skb.skb, segment, room as u32) {
        0 => Ok(()),
        number => Err(decide::reason(number)),
    }
}

/// Reads the transport header where the segment says that it is. The result is a reason against it, or zero.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_transport(ctx: *mut __sk_buff, segment: *mut Segment, room: u32) -> u32 {
    /// The reason with the number zero, which no transport header gives.
    const _: () = assert!(Reason::NotIp as u8 == 0);
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_mut() }) else { return Reason::Truncated as u32 };
    let ctx = &TcContext::new(ctx);
    match ports(ctx, segment, room as usize) {
        Ok(()) => 0,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn ports(ctx: &TcContext, segment: &mut Segment, room: usize) -> Result<(), Reason> {
    let (protocol, at) = (segment.protocol(), segment.transport());
    let ports = match protocol {
        Protocol::Tcp => Ports::of_tcp(&load(ctx, at)?)?,
        Protocol::Udp => Ports::of_udp(&load(ctx, at)?, room, is_gso(ctx))?,
    };
    segment.source_port = ports.source;
    segment.destination_port = ports.destination;
    segment.flags = ports.flags;
    // For those who go on to read it there.
    let behind = at + transport::least(protocol);
    if ctx.data_end() - ctx.data() < behind {
        ctx.pull_data(behind as u32).map_err(|_| Reason::Truncated)?;
    }
    Ok(())
}
