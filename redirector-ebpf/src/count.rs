//! Counters. Each CPU has its own, so that they are neither locked nor lost.

use redirector_common::{Reason, Verdict, reason::counter_slot};

use crate::maps::{REASONS, ROUTE_STATS};

/// Counts a packet of so many bytes.
#[inline(always)]
pub fn packet(verdict: Verdict, reason: Reason, bytes: u32) {
    if let Some(count) = REASONS.get_ptr_mut(counter_slot(verdict, reason)) {
        // SAFETY: the slot is this CPU's own, and the programs run with softirqs off.
        let count = unsafe { &mut *count };
        count.packets += 1;
        count.bytes += u64::from(bytes);
    }
}

/// Counts a new connection that a route decided.
#[inline(always)]
pub fn connection(route: u32, reason: Reason) {
    if let Some(count) = ROUTE_STATS.get_ptr_mut(route) {
        // SAFETY: as in `packet`.
        let count = unsafe { &mut *count };
        if reason.is_unavailable() {
            count.unavailable += 1;
        } else {
            count.connections += 1;
        }
    }
}

/// Counts a connection that `sk_lookup` gave to the proxy.
#[inline(always)]
pub fn taken(route: u32) {
    if let Some(count) = ROUTE_STATS.get_ptr_mut(route) {
        // SAFETY: as in `packet`.
        unsafe { (*count).taken += 1 };
    }
}
