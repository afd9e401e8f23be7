//! What `tc_ingress` decides of a packet, and the one place where that is carried out.

use aya_ebpf::{
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    programs::TcContext,
};
use redirector_common::{
    Flow, Protocol, Reason, Verdict,
    entries::{OnUnavailable, PortWord, RouteEntry, RouteKind},
};

use crate::{
    count, handoff, locals,
    maps::settings,
    packet::{self, Segment},
    proxy, route,
    socket::{Socket, state},
};

/// A reason, and the route that it concerns.
pub struct Outcome {
    reason: Reason,
    on_unavailable: u8,
    /// The route's slot, where a route decided a new connection.
    route: Option<u32>,
}

impl From<Reason> for Outcome {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self { reason, on_unavailable: OnUnavailable::Pass as u8, route: None }
    }
}

/// What becomes of a packet, and why.
#[inline(always)]
pub fn decide(ctx: &TcContext) -> Outcome {
    let segment = match packet::segment(ctx) {
        Ok(segment) => segment,
        Err(reason) => return reason.into(),
    };
    let word = route::port(segment.family, Protocol::Tcp, segment.destination_port);
    if word == PortWord::NONE {
        return Reason::NoRoute.into();
    }
    match segment.flow(ctx) {
        Ok(flow) if segment.opens() => new_connection(ctx, word, &flow),
        Ok(flow) => existing_connection(ctx, &segment, word, &flow).into(),
        Err(reason) => reason.into(),
    }
}

/// Carries the outcome out. Not ours, or not only ours: the next program sees the packet too.
#[inline(always)]
pub fn conclude(ctx: &TcContext, outcome: &Outcome) -> i32 {
    let verdict = outcome.reason.verdict(outcome.on_unavailable);
    count::packet(verdict, outcome.reason, ctx.len());
    if let Some(route) = outcome.route {
        count::connection(route, outcome.reason);
    }
    match verdict {
        Verdict::Steered => {
            mark(ctx);
            TCX_NEXT
        }
        Verdict::Dropped => TCX_DROP,
        _ => TCX_NEXT,
    }
}

/// A SYN: the route decides, unless the connection is there already and this is a retransmission.
#[inline(always)]
fn new_connection(ctx: &TcContext, word: PortWord, flow: &Flow) -> Outcome {
    let local = locals::contains(flow.family, &flow.destination);
    let attached = if word.is_steered() {
        let (socket, attached) = connection(ctx, flow);
        match socket {
            Some(state::TIME_WAIT) => true, // found before any listener: sk_lookup was not asked
            Some(_) if local => return Reason::Local.into(),
            Some(_) => return Reason::Established.into(),
            None => attached,
        }
    } else {
        true
    };
    let Some((slot, entry)) = route::find(word, flow) else {
        return Reason::NoRoute.into();
    };
    if flow.never_redirected() {
        return Reason::SpecialAddress.into();
    }
    let reason = match entry.kind {
        kind if kind == RouteKind::Drop as u8 => Reason::DropRoute,
        kind if kind == RouteKind::Proxy as u8 => {
            if proxy::is_own_port(&entry, flow) {
                // The route excludes it, and so does not count it.
                return Reason::ProxyPort.into();
            }
            to_proxy(ctx, flow, slot, &entry, local, attached)
        }
        _ => Reason::PassRoute,
    };
    Outcome { reason, on_unavailable: entry.on_unavailable, route: Some(slot) }
}

#[inline(always)]
fn to_proxy(
    ctx: &TcContext,
    flow: &Flow,
    slot: u32,
    entry: &RouteEntry,
    local: bool,
    attached: bool,
) -> Reason {
    if !attached {
        return Reason::Detached;
    }
    match proxy::steer(ctx, flow, slot, entry, local) {
        Ok(()) => Reason::Proxy,
        Err(reason) => reason,
    }
}

/// Anything but a SYN: it belongs to a connection that was decided before, here or by nobody.
#[inline(always)]
fn existing_connection(ctx: &TcContext, segment: &Segment, word: PortWord, flow: &Flow) -> Reason {
    if locals::contains(flow.family, &flow.destination) {
        return Reason::Local;
    }
    if !word.is_steered() {
        return Reason::NotNew;
    }
    if connection(ctx, flow).0.is_some() {
        return Reason::Established;
    }
    if !segment.acknowledges() {
        return Reason::NotNew;
    }
    match route::find(word, flow) {
        Some((slot, entry)) if entry.kind == RouteKind::Proxy as u8 => {
            match proxy::steer_cookie(ctx, segment, flow, slot, &entry) {
                Ok(()) => Reason::SynCookie,
                Err(reason) => reason,
            }
        }
        _ => Reason::NotNew,
    }
}

/// The state of the connection that a socket of this host has with this 4-tuple, and whether `sk_lookup` answered.
#[inline(always)]
fn connection(ctx: &TcContext, flow: &Flow) -> (Option<u32>, bool) {
    let (socket, attached) = handoff::probe(|| Socket::find(ctx, flow));
    let state = socket.map(|socket| socket.state());
    (state.filter(|state| *state != state::LISTEN && *state != state::CLOSE), attached)
}

/// Marks the packet: the host's rule on the mark has it delivered here, whatever its destination.
#[inline(always)]
fn mark(ctx: &TcContext) {
    let Some(settings) = settings() else { return };
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let mark = unsafe { (*ctx.skb.skb).mark };
    ctx.skb.set_mark(mark | settings.mark);
}
