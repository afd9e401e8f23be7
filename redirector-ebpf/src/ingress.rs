//! `tc_ingress`: from a packet to what becomes of it, and the one place where that is carried out.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    programs::TcContext,
};
use redirector_common::{
    Reason, Verdict,
    entries::{OnUnavailable, PortWord},
};

use crate::{
    answer, closer, count,
    decide::{self, Outcome},
    event,
    link::Link,
    maps::settings,
    next_hop,
    packet::{self, Headers, Segment},
    route, trial,
};

/// What the program of a kind of link does with a packet.
#[inline(always)]
pub fn run<L: Link>(ctx: &TcContext) -> i32 {
    // Written where it is needed: most packets are done with before.
    let mut segment = MaybeUninit::uninit();
    let outcome = match packet::headers::<L>(ctx) {
        Ok(headers) => routed::<L>(ctx, &headers, &mut segment),
        Err(Reason::Fragment | Reason::ExtensionHeader | Reason::IcmpError) => {
            closer::outcome::<L>(ctx, segment.write(Segment::default()))
        }
        Err(reason) => Err(reason),
    };
    match outcome {
        Ok(outcome) => {
            // SAFETY: nothing decides a segment that is not there.
            let segment = unsafe { segment.assume_init_ref() };
            conclude::<L>(ctx, segment, &outcome)
        }
        Err(reason) => settled::<L>(ctx, reason),
    }
}

/// A packet with nothing special. Addresses are read only where a route names the port: most packets never need them.
///
/// # Errors
///
/// The reason, where no route is asked: there is none, it is not ours, or its connection is here already.
#[inline(always)]
fn routed<L: Link>(
    ctx: &TcContext,
    headers: &Headers,
    segment: &mut MaybeUninit<Segment>,
) -> Result<Outcome, Reason> {
    let word = route::port(headers.family, headers.protocol, headers.destination_port);
    if word == PortWord::NONE {
        if headers.opens() && event::wants_all() && !trial::asks(ctx) {
            event::tell_unnamed::<L>(ctx, headers);
        }
        return Err(Reason::NoRoute);
    }
    let destination = headers.destination::<L>(ctx)?;
    let local = decide::local(headers.family, &destination, word, headers.opens())?;
    packet::for_us::<L>(ctx)?;
    let segment = segment.write(headers.segment::<L>(ctx, destination)?);
    let place = decide::place(ctx, segment, word, local)?;
    Ok(decide::outcome(ctx, segment, word, place))
}

/// What no route is asked about goes on, marked where it is part of a steered connection; the next program sees it too.
#[inline(always)]
fn settled<L: Link>(ctx: &TcContext, reason: Reason) -> i32 {
    let verdict = reason.verdict(OnUnavailable::Pass as u8);
    record(ctx, verdict, reason, None);
    if matches!(verdict, Verdict::Steered) {
        steer::<L>(ctx);
    }
    TCX_NEXT
}

/// Carries out what a route says. What is not ours, or not only ours, the next program sees too.
#[inline(always)]
fn conclude<L: Link>(ctx: &TcContext, segment: &Segment, outcome: &Outcome) -> i32 {
    let is_real = record(ctx, outcome.verdict, outcome.reason, outcome.route);
    // A later fragment is of a packet that was told of.
    if is_real && segment.opens() && !matches!(outcome.reason, Reason::Fragment) {
        event::tell(ctx, segment, outcome.verdict, outcome.reason, outcome.route);
    }
    match outcome.verdict {
        Verdict::Steered => {
            steer::<L>(ctx);
            TCX_NEXT
        }
        Verdict::Forwarded => next_hop::send(ctx, segment, outcome.next_hop),
        Verdict::Reset => answer::send(ctx, segment),
        Verdict::Dropped => TCX_DROP,
        _ => TCX_NEXT,
    }
}

/// Counts a packet, and the connection that it opens where a route decided one; or answers a test run that asks. Whether it
/// is a packet.
#[inline(always)]
fn record(ctx: &TcContext, verdict: Verdict, reason: Reason, route: Option<u32>) -> bool {
    if trial::asks(ctx) {
        trial::answer(ctx, verdict, reason, route);
        return false;
    }
    count::packet(verdict, reason, ctx.len());
    if let Some(route) = route {
        count::connection(route, reason);
    }
    true
}

/// Marks the packet: the host's rule on the mark has it delivered here, whatever its destination.
#[inline(always)]
fn steer<L: Link>(ctx: &TcContext) {
    let Some(settings) = settings() else { return };
    ctx.skb.set_mark(packet::mark(ctx) | settings.mark);
    L::bring_up(ctx);
}
