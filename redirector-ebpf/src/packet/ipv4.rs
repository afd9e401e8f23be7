//! The IPv4 header.

use aya_ebpf::programs::TcContext;
use network_types::ip::Ipv4Hdr;
use redirector_common::Reason;

use super::{Transport, header, transport};
use crate::link::Link;

/// Bit of the three flags in front of the fragment offset.
const MORE_FRAGMENTS: u8 = 0b001;

/// Where the transport header is.
#[inline(always)]
pub fn transport<L: Link>(ctx: &TcContext) -> Result<Transport, Reason> {
    let ip = header::<Ipv4Hdr>(ctx, L::NETWORK)?;
    let header_length = usize::from(ip.ihl());
    if ip.version() != 4 || header_length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    let protocol = transport::protocol(ip.proto).ok_or(Reason::OtherProtocol)?;
    if ip.frag_offset() != 0 || ip.frag_flags() & MORE_FRAGMENTS != 0 {
        return Err(Reason::Fragment);
    }
    let total = usize::from(u16::from_be_bytes(ip.tot_len));
    Transport::within::<L>(ctx, protocol, total, header_length)
}
