//! `sk_lookup`: the socket for a connection that has none yet.

use aya_ebpf::{EbpfContext as _, helpers::bpf_sk_assign, programs::SkLookupContext};
use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{HandoffState, RouteKind, listener_index},
};

use crate::{
    count, handoff, locals,
    maps::{CAPTURED, settings},
    proxy, route,
    socket::{Socket, state},
};

/// The loopback device (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;
const AF_INET: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// Gives the connection to a proxy's listener if that is where it goes; otherwise the kernel goes on looking.
#[inline(always)]
pub fn assign(ctx: &SkLookupContext) {
    if handoff::answer_probe() {
        return;
    }
    let Some((flow, ifindex)) = flow(ctx) else { return };
    // What the host's own processes send, the proxy's among them, never comes back to a proxy.
    if ifindex == LOOPBACK {
        return;
    }
    if let Some(handoff) = handoff::take(&flow) {
        if give(ctx, flow.protocol, handoff.listener) && handoff.state == HandoffState::Steer as u32 {
            count::taken(handoff.route);
        }
    } else if let Some((route, listener)) = not_handed_over(&flow, ifindex)
        && give(ctx, flow.protocol, listener)
    {
        // The ACK of a SYN cookie cannot be told from its SYN here, and counts again. So does a datagram for which GRO asked
        // already whether its socket takes them joined (net/ipv4/udp_offload.c, udp4_gro_lookup_skb).
        count::taken(route);
    }
}

/// Route and listener of a connection or datagram that `tc_ingress` could not decide, for its packet came in fragments, or whose
/// packet changed CPU after that, or came in one batch with others: the hook sees all of a batch before the stack sees
/// the first (net/core/dev.c, __netif_receive_skb_list_core), and one is handed over.
#[inline(always)]
fn not_handed_over(flow: &Flow, ifindex: u32) -> Option<(u32, u32)> {
    settings()?;
    CAPTURED.get_ptr(ifindex)?;
    // What the host sends to an address of its own carries the ifindex of the device that has the address, not
    // that of the loopback device by which it comes (`rt_iif`: net/ipv4/route.c, ip_route_output_key_hash_rcu).
    // Unless it bound to another, its source is its destination, which `LOCALS` may have no room for.
    if flow.source == flow.destination || locals::contains(flow.family, &flow.source) {
        return None;
    }
    let word = route::port(flow.family, flow.protocol, flow.destination_port);
    if !word.is_steered() {
        return None;
    }
    let (slot, entry) = route::find(word, flow)?;
    let steers = entry.kind == RouteKind::Proxy as u8
        && !proxy::is_own_port(&entry, flow.destination_port)
        && !flow.never_redirected();
    steers.then(|| (slot, listener_index(entry.target, flow.family)))
}

/// Whether the listener was there to take the packet. The kernel then picks the member of its SO_REUSEPORT group.
#[inline(always)]
fn give(ctx: &SkLookupContext, protocol: Protocol, listener: u32) -> bool {
    let Some(socket) = Socket::stored(listener) else { return false };
    if socket.state() != state::listening(protocol) {
        return false;
    }
    // SAFETY: the socket is held, and the kernel takes a reference of its own.
    unsafe { bpf_sk_assign(ctx.as_ptr(), socket.as_ptr().cast(), 0) == 0 }
}

/// The flow and the ifindex of the device by which it came.
///
/// Every field is read, whatever the family, and by a read of its own: reads that the compiler merges need
/// arithmetic on the context's pointer, which the verifier refuses.
#[inline(always)]
fn flow(ctx: &SkLookupContext) -> Option<(Flow, u32)> {
    macro_rules! read {
        ($($field:tt)+) => {
            // SAFETY: the kernel hands every program a valid context, and the verifier checks each access.
            unsafe { (&raw const (*ctx.lookup).$($field)+).read_volatile() }
        };
    }
    macro_rules! address {
        ($v4:ident, $v6:ident) => {{
            let v4 = read!($v4);
            let v6 = [read!($v6[0]), read!($v6[1]), read!($v6[2]), read!($v6[3])];
            (Address::from_words([v4, 0, 0, 0]), Address::from_words(v6))
        }};
    }
    let protocol = match read!(protocol) {
        IPPROTO_TCP => Protocol::Tcp,
        IPPROTO_UDP => Protocol::Udp,
        _ => return None,
    };
    let (source4, source6) = address!(remote_ip4, remote_ip6);
    let (destination4, destination6) = address!(local_ip4, local_ip6);
    let (family, source, destination) = if read!(family) == AF_INET {
        (Family::V4, source4, destination4)
    } else {
        (Family::V6, source6, destination6)
    };
    let flow = Flow {
        family,
        protocol,
        source,
        destination,
        source_port: u16::from_be(read!(remote_port)),
        destination_port: read!(local_port) as u16,
    };
    Some((flow, read!(ingress_ifindex)))
}
