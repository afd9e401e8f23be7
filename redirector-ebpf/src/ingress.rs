//! `tc_ingress`: from a packet to what becomes of it, and the one place where that is carried out.

use aya_ebpf::{
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    programs::TcContext,
};
use redirector_common::{Protocol, Reason, Verdict, entries::PortWord};

use crate::{
    count,
    decide::{self, Outcome},
    link::Link,
    maps::settings,
    next_hop,
    packet::{self, Segment},
    reset, route,
};

/// What the program of a kind of link does with a packet.
#[inline(always)]
pub fn run<L: Link>(ctx: &TcContext) -> i32 {
    let headers = match packet::headers::<L>(ctx) {
        Ok(headers) => headers,
        Err(reason) => return pass(ctx, reason),
    };
    let word = route::port(headers.family, Protocol::Tcp, headers.destination_port);
    if word == PortWord::NONE {
        return pass(ctx, Reason::NoRoute);
    }
    // Addresses are read only when a route names the port: most packets never need them.
    match headers.segment::<L>(ctx) {
        Ok(segment) => {
            let outcome = decide::outcome(ctx, &segment, word);
            conclude::<L>(ctx, &segment, &outcome)
        }
        Err(reason) => pass(ctx, reason),
    }
}

/// Not ours: the next program sees it too.
#[inline(always)]
fn pass(ctx: &TcContext, reason: Reason) -> i32 {
    count::packet(Verdict::Passed, reason, ctx.len());
    TCX_NEXT
}

/// Carries the outcome out. What is not ours, or not only ours, the next program sees too.
#[inline(always)]
fn conclude<L: Link>(ctx: &TcContext, segment: &Segment, outcome: &Outcome) -> i32 {
    let verdict = outcome.reason.verdict(outcome.on_unavailable);
    count::packet(verdict, outcome.reason, ctx.len());
    if let Some(route) = outcome.route {
        count::connection(route, outcome.reason);
    }
    match verdict {
        Verdict::Steered => {
            mark(ctx);
            L::bring_up(ctx);
            TCX_NEXT
        }
        Verdict::Forwarded => next_hop::send(ctx, segment, outcome.next_hop),
        Verdict::Reset => reset::answer(ctx, segment),
        Verdict::Dropped => TCX_DROP,
        _ => TCX_NEXT,
    }
}

/// Marks the packet: the host's rule on the mark has it delivered here, whatever its destination.
#[inline(always)]
fn mark(ctx: &TcContext) {
    let Some(settings) = settings() else { return };
    ctx.skb.set_mark(packet::mark(ctx) | settings.mark);
}
