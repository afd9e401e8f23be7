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

/// Takes back what was handed over last.
#[inline(always)]
pub fn withdraw() {
    set(HandoffState::Empty);
}

/// What was handed over for this flow, which is thereby taken.
#[inline(always)]
pub fn take(flow: &Flow) -> Option<Handoff> {
    let slot = HANDOFF.get_ptr_mut(0)?;
    // SAFETY: as in `give`.
    let handoff = unsafe { &mut *slot };
    let steers =
        handoff.state == HandoffState::Steer as u32 || handoff.state == HandoffState::SynCookie as u32;
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

/// Read and written as volatile: a helper in between runs `sk_lookup`, which writes it.
#[inline(always)]
fn get() -> u32 {
    // SAFETY: as in `give`.
    state().map_or(HandoffState::Empty as u32, |state| unsafe { state.read_volatile() })
}

#[inline(always)]
fn set(value: HandoffState) {
    if let Some(state) = state() {
        // SAFETY: as in `give`.
        unsafe { state.write_volatile(value as u32) };
    }
}

/// The state, which is the first field.
#[inline(always)]
fn state() -> Option<*mut u32> {
    HANDOFF.get_ptr_mut(0).map(|slot| slot.cast())
}
