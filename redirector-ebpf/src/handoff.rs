//! What `tc_ingress` tells `sk_lookup`, on the CPU that carries the packet from one to the other.

use redirector_common::{
    Flow,
    entries::{Handoff, HandoffState},
};

use crate::maps::HANDOFF;

/// Hands a flow over, to be steered to a listener.
#[inline(always)]
pub fn give(state: HandoffState, flow: &Flow, route: u32, listener: u32) {
    let Some(slot) = HANDOFF.get_ptr_mut(0) else { return };
    // SAFETY: the slot is this CPU's own, and a program is not interrupted by another that uses it: tc_ingress
    // and sk_lookup both run with softirqs off.
    unsafe { *slot = Handoff::new(state, flow, route, listener) };
}

/// What was handed over for this flow, which is thereby taken.
#[inline(always)]
pub fn take(flow: &Flow) -> Option<Handoff> {
    let slot = HANDOFF.get_ptr_mut(0)?;
    // SAFETY: as in `give`.
    let handoff = unsafe { &mut *slot };
    let steers = handoff.state == HandoffState::Steer as u32 || handoff.state == HandoffState::SynCookie as u32;
    if !steers || !handoff.is_for(flow) {
        return None;
    }
    let taken = *handoff;
    handoff.state = HandoffState::Empty as u32;
    Some(taken)
}

/// Runs a socket look-up during which `sk_lookup` passes at once. The second result is whether it was there to
/// do so, which it is asked only where no connection was found.
#[inline(always)]
pub fn probe<T>(look_up: impl FnOnce() -> T) -> (T, bool) {
    set(HandoffState::Probe);
    let found = look_up();
    let present = get() == HandoffState::Present as u32;
    set(HandoffState::Empty);
    (found, present)
}

/// Whether `tc_ingress` is probing; if so, answers it.
#[inline(always)]
pub fn answer_probe() -> bool {
    if get() == HandoffState::Probe as u32 {
        set(HandoffState::Present);
        return true;
    }
    // A second sk_lookup program may have the look-up run twice.
    get() == HandoffState::Present as u32
}

#[inline(always)]
fn get() -> u32 {
    // SAFETY: as in `give`; volatile, for a helper in between runs `sk_lookup`, which writes it.
    HANDOFF.get_ptr_mut(0).map_or(HandoffState::Empty as u32, |slot| unsafe {
        (&raw const (*slot).state).read_volatile()
    })
}

#[inline(always)]
fn set(state: HandoffState) {
    if let Some(slot) = HANDOFF.get_ptr_mut(0) {
        // SAFETY: as in `get`.
        unsafe { (&raw mut (*slot).state).write_volatile(state as u32) };
    }
}
