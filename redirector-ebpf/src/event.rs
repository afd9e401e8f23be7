//! Tells of new connections, at most so many in a second, and counts those that it could not tell of. Nobody who reads is
//! waited for.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
    programs::TcContext,
};
use redirector_common::{
    Family, Flow, Protocol, Reason, Verdict,
    entries::{DATAGRAMS_QUIET, DatagramKey, EventRate, EventSettings, FlowEvent},
};

use crate::{
    link::Link,
    maps::{DATAGRAMS, EVENT_LOSSES, EVENT_RATE, EVENTS, FLOW_EVENTS},
    packet::{Headers, Segment, look::addresses},
};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Tells of a new connection.
#[inline(always)]
pub fn tell(ctx: &TcContext, segment: &Segment, verdict: Verdict, reason: Reason, route: Option<u32>) {
    if EVENTS.get(0).is_some_and(|events| events.per_second != 0) {
        let route = route.unwrap_or(FlowEvent::NO_ROUTE);
        event(ctx.skb.skb, segment, (verdict as u32) << 8 | reason as u32, route);
    }
}

/// Whether somebody wants to know of connections to ports that no route names.
#[inline(always)]
pub fn wants_all() -> bool {
    EVENTS.get(0).is_some_and(|events| events.all != 0)
}

/// Tells of a connection to a port that no route names.
#[inline(always)]
pub fn tell_unnamed<L: Link>(ctx: &TcContext, headers: &Headers) {
    let ports = u32::from(headers.source_port) << 16 | u32::from(headers.destination_port);
    unnamed(ctx.skb.skb, L::NETWORK as u32, (headers.family as u32) << 1 | headers.protocol as u32, ports);
}

/// Not even the addresses are read before somebody wants to know them, and then with a part of the stack that others use too.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn unnamed(ctx: *mut __sk_buff, network: u32, kind: u32, ports: u32) -> i32 {
    let family = if kind & 2 == 0 { Family::V4 } else { Family::V6 };
    let Ok([source, destination]) = addresses(&TcContext::new(ctx), family, network as usize & 0xff) else {
        return 0;
    };
    let protocol = if kind & 1 == 0 { Protocol::Tcp } else { Protocol::Udp };
    let segment = Segment::of(&Flow {
        family,
        protocol,
        source,
        destination,
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
    });
    event(ctx, &segment, (Verdict::Passed as u32) << 8 | Reason::NoRoute as u32, FlowEvent::NO_PORT)
}

/// Global for the verifier's sake, as [`decide`](crate::decide).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn event(ctx: *mut __sk_buff, segment: *const Segment, outcome: u32, route: u32) -> i32 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return 0 };
    let Some(events) = EVENTS.get(0) else { return 0 };
    let flow = &segment.flow();
    if matches!(flow.protocol, Protocol::Udp) && !is_new(events, flow) {
        return 0;
    }
    if !may(events) {
        lost(|losses| &mut losses.rate);
        return 0;
    }
    let Some(mut record) = FLOW_EVENTS.reserve(0) else {
        lost(|losses| &mut losses.full);
        return 0;
    };
    // SAFETY: the helper takes nothing.
    let time = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let ifindex = unsafe { (*ctx).ifindex };
    record.write(FlowEvent {
        time,
        source: flow.source,
        destination: flow.destination,
        route,
        ifindex,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        family: flow.family as u8,
        protocol: flow.protocol as u8,
        verdict: (outcome >> 8) as u8,
        reason: outcome as u8,
    });
    // Who reads comes by itself: to wake somebody costs more than all the rest.
    record.submit(BPF_RB_NO_WAKEUP.into());
    0
}

/// Whether an event may be told of yet in this second. CPUs that tell at the same moment may count as one, and a few more are
/// told then.
#[inline(always)]
fn may(events: &EventSettings) -> bool {
    let Some(rate) = EVENT_RATE.get_ptr_mut(0) else { return false };
    // SAFETY: the entry is as long as the map. Another CPU may write it meanwhile, as two aligned words.
    let EventRate { began, told } = unsafe { rate.read_volatile() };
    // As of the last tick, which costs a fraction of the clock.
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let next = if now.wrapping_sub(began) >= SECOND {
        EventRate { began: now, told: 1 }
    } else if told < u64::from(events.per_second) {
        EventRate { began, told: told + 1 }
    } else {
        // Nothing is written any more once they are told.
        return false;
    };
    // SAFETY: as above.
    unsafe { rate.write_volatile(next) };
    true
}

/// Whether a datagram is the first of its flow in a while. Nobody is told of datagrams while nobody watches.
#[inline(always)]
fn is_new(events: &EventSettings, flow: &Flow) -> bool {
    if events.watched == 0 {
        return false;
    }
    let key = DatagramKey {
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        family: flow.family as u32,
    };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: another CPU may write the time meanwhile, which is one aligned word.
    if let Some(told) = unsafe { DATAGRAMS.get(key) }
        && now.wrapping_sub(*told) < DATAGRAMS_QUIET
    {
        return false;
    }
    // Without room for it the next datagram is told of as well.
    let _ = DATAGRAMS.insert(key, now, 0);
    true
}

#[inline(always)]
fn lost(which: impl FnOnce(&mut redirector_common::entries::EventLosses) -> &mut u64) {
    if let Some(losses) = EVENT_LOSSES.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's own, and the programs run with softirqs off.
        let losses = unsafe { &mut *losses };
        *which(losses) += 1;
    }
}
