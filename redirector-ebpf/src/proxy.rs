//! The target `proxy`: leads new connections to the proxy's listener.

use aya_ebpf::{helpers::bpf_tcp_check_syncookie, programs::TcContext};
use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};
use redirector_common::{
    Family, Protocol, Reason,
    entries::{HandoffState, RouteEntry},
};

use crate::{
    handoff, listener,
    maps::PROXIES,
    packet::{Segment, header},
    socket::Socket,
};

/// Hands a new connection or a datagram over to the proxy's listener.
#[inline(always)]
pub fn steer(
    ctx: &TcContext,
    segment: &Segment,
    slot: u32,
    route: &RouteEntry,
    local: bool,
) -> Result<(), Reason> {
    let index = match segment.protocol() {
        Protocol::Tcp => listener::find(ctx, route.target, segment.family(), local)?.1,
        Protocol::Udp => listener::find_for_datagram(ctx, route.target, segment.family())?,
    };
    handoff::give(HandoffState::Steer, &segment.flow(), slot, index);
    Ok(())
}

/// Whether the connection is to the proxy itself, which would answer itself for ever.
#[inline(always)]
pub fn is_own_port(route: &RouteEntry, port: u16) -> bool {
    PROXIES.get(route.target).is_some_and(|proxy| proxy.port == port)
}

/// Hands over the ACK that answers a SYN cookie: its connection has no socket yet, and it is not a SYN.
#[inline(always)]
pub fn steer_cookie(ctx: &TcContext, segment: &Segment, slot: u32, route: &RouteEntry) -> Result<(), Reason> {
    let (listener, index) =
        listener::find(ctx, route.target, segment.family(), false).map_err(|_unavailable| Reason::NotNew)?;
    let valid = match segment.family() {
        Family::V4 => is_cookie::<Ipv4Hdr>(ctx, segment, &listener),
        Family::V6 => is_cookie::<Ipv6Hdr>(ctx, segment, &listener),
    };
    if !valid? {
        return Err(Reason::NotNew);
    }
    handoff::give(HandoffState::SynCookie, &segment.flow(), slot, index);
    Ok(())
}

/// Whether the segment acknowledges a SYN cookie of this listener.
#[inline(always)]
fn is_cookie<Ip>(ctx: &TcContext, segment: &Segment, listener: &Socket) -> Result<bool, Reason> {
    let ip = core::ptr::from_ref(header::<Ip>(ctx, segment.network())?);
    let tcp = core::ptr::from_ref(header::<TcpHdr>(ctx, segment.transport())?);
    // SAFETY: both headers lie within the packet, with the lengths given, and the listener is held.
    let result = unsafe {
        bpf_tcp_check_syncookie(
            listener.as_ptr().cast(),
            ip.cast_mut().cast(),
            size_of::<Ip>() as u32,
            tcp.cast_mut().cast(),
            TcpHdr::LEN as u32,
        )
    };
    Ok(result == 0)
}
