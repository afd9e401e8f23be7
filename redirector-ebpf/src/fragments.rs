//! What became of the first fragment of a packet, for the others, which have no ports.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY, BPF_NOEXIST},
    helpers::bpf_ktime_get_coarse_ns,
    programs::TcContext,
};
use redirector_common::{
    Family, Reason, Verdict,
    entries::{FragmentEntry, FragmentKey},
};

use crate::{
    decide::{self, Outcome},
    handoff,
    maps::FRAGMENTS,
    next_hop,
    packet::Segment,
};

/// How long a host waits for the rest of a packet, in nanoseconds (net/ipv4/ip_fragment.c and RFC 8200: 30 and 60 seconds;
/// Linux waits 30 for IPv4 and 60 for IPv6, and what became of a first fragment is of use for as long as most arrive).
const LIFETIME: u64 = 30_000_000_000;

/// The first fragment gets what was decided, and the others get the same. Where one of those came before it and passed,
/// it passes as well: whole to the proxy or whole past it. But what is to be dropped is dropped: without it the rest is
/// nothing.
#[inline(always)]
pub fn first(segment: &Segment, identification: u32, decided: u64) -> u64 {
    let (verdict, next_hop) = match decide::unpack(decided) {
        Ok(outcome) => (outcome.verdict, outcome.next_hop),
        // Seen before, by another interface, or not for us to see.
        Err(Reason::OtherHost | Reason::Marked) => return decided,
        // Nothing need be known for it to pass.
        Err(Reason::NoRoute) => {
            remember_fragment(segment, identification, NOTHING);
            return decided;
        }
        Err(reason) => (reason.verdict(0), 0),
    };
    let fate = u32::from(next_hop) << 8 | verdict as u32;
    let is_kept = remember_fragment(segment, identification, fate) != 0;
    if is_kept || matches!(verdict, Verdict::Dropped | Verdict::Reset) {
        return decided;
    }
    handoff::withdraw();
    decide::settled(Reason::Fragment)
}

/// The first fragment passes without ports, and so do the others.
#[inline(always)]
pub fn tiny(segment: &Segment, identification: u32) -> u64 {
    remember_fragment(segment, identification, Verdict::Passed as u32);
    decide::settled(Reason::Fragment)
}

/// A later fragment. Where no first was seen it passes, and so will that.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn later_fragment(ctx: *mut __sk_buff, segment: *const Segment, identification: u32) -> u64 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return decide::settled(Reason::Fragment) };
    let key = key(segment, identification);
    let Some(entry) = fresh(&key) else {
        let _ = FRAGMENTS.insert(key, FragmentEntry::passed_before(now()), BPF_ANY.into());
        return decide::settled(Reason::Fragment);
    };
    let verdict = match entry.verdict {
        verdict if verdict == Verdict::Steered as u8 => Verdict::Steered,
        verdict if verdict == Verdict::Dropped as u8 => Verdict::Dropped,
        verdict if verdict == Verdict::Forwarded as u8 => {
            let ctx = &TcContext::new(ctx);
            match next_hop::check(ctx, segment, segment.family(), entry.next_hop.into()) {
                Reason::Interface => Verdict::Forwarded,
                // The beginning is there already, and the rest goes no other way.
                _ => Verdict::Dropped,
            }
        }
        _ => return decide::settled(Reason::Fragment),
    };
    Outcome { reason: Reason::Fragment, verdict, route: None, next_hop: entry.next_hop }.pack()
}

/// In the place of a verdict: nothing is to be known of the packet, nor of an older one with the same number.
const NOTHING: u32 = 0xff;

/// Writes down what becomes of a packet (a verdict, and behind it a next hop), unless a later fragment of it has passed.
/// Whether it was written: 0 or 1.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn remember_fragment(segment: *const Segment, identification: u32, fate: u32) -> u32 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return 0 };
    let key = key(segment, identification);
    if fate == NOTHING {
        return FRAGMENTS.remove(key).is_ok().into();
    }
    let flags = match fresh(&key) {
        Some(entry) if entry.is_before_first != 0 => return 0,
        // Of the same fragment before, or of an older packet.
        Some(_) => BPF_ANY,
        // A later one may come at this moment, on another CPU. What has expired is in the way of neither.
        None => {
            let _ = FRAGMENTS.remove(&key);
            BPF_NOEXIST
        }
    };
    let verdict = match fate as u8 {
        // Nothing answers those that come after a reset.
        verdict if verdict == Verdict::Reset as u8 => Verdict::Dropped as u8,
        verdict => verdict,
    };
    let entry = FragmentEntry::of_first(now(), verdict, (fate >> 8) as u8);
    FRAGMENTS.insert(key, entry, flags.into()).is_ok().into()
}

/// By what the fragments of a packet are known. What an IPv6 fragment says of the next header counts in the first only
/// (RFC 8200, 4.5).
#[inline(always)]
fn key(segment: &Segment, identification: u32) -> FragmentKey {
    let family = segment.family();
    let protocol = if matches!(family, Family::V6) { 0 } else { segment.protocol() as u8 };
    FragmentKey {
        source: *segment.source(),
        destination: *segment.destination(),
        identification,
        family: family as u8,
        protocol,
        pad: 0,
    }
}

/// What is written down, if it is not too old.
#[inline(always)]
fn fresh(key: &FragmentKey) -> Option<FragmentEntry> {
    // SAFETY: entries are written whole; one that is overwritten meanwhile is of the same packet.
    let entry = *unsafe { FRAGMENTS.get(key) }?;
    (now().wrapping_sub(entry.time) < LIFETIME).then_some(entry)
}

/// The time, in nanoseconds since some moment.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}
