//! The IPv4 header.

use aya_ebpf::programs::TcContext;
use network_types::ip::{IpProto, Ipv4Hdr};
use redirector_common::Reason;

use super::{Transport, header, transport};
use crate::link::Link;

/// Where the transport header is, or that it takes [a closer look](super::look).
#[inline(always)]
pub fn transport<L: Link>(ctx: &TcContext) -> Result<Transport, Reason> {
    let ip = header::<Ipv4Hdr>(ctx, L::NETWORK)?;
    let header_length = usize::from(ip.ihl());
    if ip.version() != 4 || header_length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    let protocol = match transport::protocol(ip.proto) {
        Some(protocol) => protocol,
        None if ip.proto == IpProto::Icmp as u8 => return Err(Reason::IcmpError),
        None => return Err(Reason::OtherProtocol),
    };
    if is_fragment(ip) {
        return Err(Reason::Fragment);
    }
    let total = usize::from(u16::from_be_bytes(ip.tot_len));
    Transport::within::<L>(ctx, protocol, total, header_length)
}

/// Whether it is a part of a packet.
#[inline(always)]
pub fn is_fragment(ip: &Ipv4Hdr) -> bool {
    /// Bit of the three flags in front of the fragment offset.
    const MORE_FRAGMENTS: u8 = 0b001;
    ip.frag_offset() != 0 || ip.frag_flags() & MORE_FRAGMENTS != 0
}
