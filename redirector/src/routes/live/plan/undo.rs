//! A plan that is discarded leaves everything as it was.

use super::Plan;
use crate::routes::{
    Proxy, Route, Target,
    live::{Live, Slot},
};

/// A plan that is not committed never was.
impl Drop for Plan<'_> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // First, so that what both lead to is in use all along: its number is nobody else's.
        if self.targets_released {
            let released = self.retargeted.iter().chain(&self.removed);
            released.for_each(|(_, slot)| restore_target(self.live, slot));
        }
        std::mem::take(&mut self.numbers).iter().for_each(|number| self.live.classes.give_back(*number));
        for number in std::mem::take(&mut self.added) {
            let Some(slot) = self.live.slots.remove(number) else { continue };
            self.edit(number, slot.origin, &slot.route, false);
            discard_target(self.live, &slot.route);
            self.live.slots.give_back(number);
        }
        for (number, old) in std::mem::take(&mut self.retargeted) {
            if let Some(new) = self.live.slots.replace(number, old) {
                discard_target(self.live, &new.route);
            }
        }
        for (number, slot) in std::mem::take(&mut self.removed) {
            self.edit(number, slot.origin, &slot.route, true);
            self.live.slots.restore(number, slot);
        }
        for (index, port) in self.touched.keys() {
            self.live.ports[*index].forget_empty(*port);
        }
        self.live.sources.forget_unused();
    }
}

/// Takes back that a route led somewhere.
fn discard_target(live: &mut Live, route: &Route) {
    match &route.target {
        Target::Proxy(at) => {
            if let Some(number) = live.proxies.release(&Proxy { protocol: route.protocol, at: *at }) {
                live.proxies.give_back(number);
            }
        }
        Target::Interface(hop) => {
            if let Some(number) = live.next_hops.release(hop) {
                live.next_hops.give_back(number);
            }
        }
        Target::Pass | Target::Drop => {}
    }
}

/// Takes back that a route leads nowhere any more: with the number that its entry has.
fn restore_target(live: &mut Live, slot: &Slot) {
    match &slot.route.target {
        Target::Proxy(at) => {
            let proxy = Proxy { protocol: slot.route.protocol, at: *at };
            live.proxies.restore(&proxy, slot.entry.target);
        }
        Target::Interface(hop) => live.next_hops.restore(hop, slot.entry.target),
        Target::Pass | Target::Drop => {}
    }
}
