//! The IPv6 header.

use aya_ebpf::programs::TcContext;
use network_types::ip::{IpProto, Ipv6Hdr};
use redirector_common::{Protocol, Reason};

use super::{Transport, header};
use crate::link::Link;

/// Where the transport header is, or that it takes [a closer look](super::look).
#[inline(always)]
pub fn transport<L: Link>(ctx: &TcContext) -> Result<Transport, Reason> {
    let ip = header::<Ipv6Hdr>(ctx, L::NETWORK)?;
    if ip.version() != 6 {
        return Err(Reason::Malformed);
    }
    let protocol = match ip.next_hdr() {
        Ok(IpProto::Tcp) => Protocol::Tcp,
        Ok(IpProto::Udp) => Protocol::Udp,
        Ok(IpProto::Ipv6Icmp) => return Err(Reason::IcmpError),
        Ok(
            IpProto::HopOpt
            | IpProto::Ipv6Route
            | IpProto::Ipv6Frag
            | IpProto::Ah
            | IpProto::Ipv6Opts
            | IpProto::MobilityHeader
            | IpProto::Hip
            | IpProto::Shim6,
        ) => return Err(Reason::ExtensionHeader),
        _ => return Err(Reason::OtherProtocol),
    };
    let payload = usize::from(u16::from_be_bytes(ip.payload_len));
    let total = if payload == 0 { 0 } else { Ipv6Hdr::LEN + payload };
    Transport::within::<L>(ctx, protocol, total, Ipv6Hdr::LEN)
}
