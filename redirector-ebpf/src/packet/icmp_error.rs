//! ICMP errors: the segment that one speaks of, seen from the other side.

use aya_ebpf::programs::TcContext;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use redirector_common::{Address, Protocol, Reason};

use super::{
    Segment,
    extension::{self, part},
    load,
    look::ipv6_addresses,
    transport,
};

/// Bytes in front of the packet that an error speaks of.
const HEADER: usize = 8;
/// So many bytes of its transport header there are at least (RFC 792, RFC 4443).
const LEAST: usize = 8;

/// Reads the error in ICMP at an offset of the packet, which ends at another. In the segment stands the packet's destination.
///
/// # Errors
///
/// It is no error, or none that can concern a proxy.
#[inline(always)]
pub fn ipv4(ctx: &TcContext, segment: &mut Segment, at: usize, end: usize) -> Result<(), Reason> {
    // Unreachable (and with that too big), source quench, time exceeded, parameter problem.
    if !matches!(kind(ctx, at, end)?, 3 | 4 | 11 | 12) {
        return Err(Reason::OtherProtocol);
    }
    let network = at + HEADER;
    let ip: Ipv4Hdr = within(ctx, network, end)?;
    let header_length = usize::from(ip.ihl());
    if ip.version() != 4 || header_length < Ipv4Hdr::LEN || ip.frag_offset() != 0 {
        return Err(Reason::OtherProtocol);
    }
    let protocol = transport::protocol(ip.proto).ok_or(Reason::OtherProtocol)?;
    let addresses = [Address::v4(ip.src_addr), Address::v4(ip.dst_addr)];
    turn_round(ctx, segment, addresses, protocol, network + header_length, end)
}

/// The same for ICMPv6.
#[inline(always)]
pub fn ipv6(ctx: &TcContext, segment: &mut Segment, at: usize, end: usize) -> Result<(), Reason> {
    // Unreachable, too big, time exceeded, parameter problem.
    if !matches!(kind(ctx, at, end)?, 1..=4) {
        return Err(Reason::OtherProtocol);
    }
    let network = at + HEADER;
    let version: u8 = within(ctx, network, end)?;
    if network + Ipv6Hdr::LEN > end || version >> 4 != 6 {
        return Err(Reason::OtherProtocol);
    }
    let chain = extension::walk(ctx, network, end).map_err(|_| Reason::OtherProtocol)?;
    let protocol = transport::protocol(chain.next).ok_or(Reason::OtherProtocol)?;
    if !matches!(chain.part, part::WHOLE | part::FIRST) {
        return Err(Reason::OtherProtocol);
    }
    let addresses = ipv6_addresses(ctx, network)?;
    turn_round(ctx, segment, addresses, protocol, chain.at as usize, end)
}

/// What a client would send to whom the error is addressed.
#[inline(always)]
fn turn_round(
    ctx: &TcContext,
    segment: &mut Segment,
    [source, destination]: [Address; 2],
    protocol: Protocol,
    at: usize,
    end: usize,
) -> Result<(), Reason> {
    // An error is sent to whoever sent what it speaks of.
    if source != segment.destination {
        return Err(Reason::OtherProtocol);
    }
    let [a, b, c, d, ..]: [u8; LEAST] = within(ctx, at, end)?;
    segment.source = destination;
    segment.source_port = u16::from_be_bytes([c, d]);
    segment.destination_port = u16::from_be_bytes([a, b]);
    segment.is_udp = protocol as u8;
    Ok(())
}

/// The type of the ICMP packet at an offset.
#[inline(always)]
fn kind(ctx: &TcContext, at: usize, end: usize) -> Result<u8, Reason> {
    let [kind, ..]: [u8; HEADER] = within(ctx, at, end)?;
    Ok(kind)
}

/// What must be there, for this to be an error that can concern a proxy.
#[inline(always)]
fn within<T>(ctx: &TcContext, at: usize, end: usize) -> Result<T, Reason> {
    if at + size_of::<T>() > end {
        return Err(Reason::OtherProtocol);
    }
    load(ctx, at).map_err(|_| Reason::OtherProtocol)
}
