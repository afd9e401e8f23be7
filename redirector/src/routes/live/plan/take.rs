//! Takes the routes of a change in and out: slots, targets, and what they say of ports.

use std::sync::Arc;

use redirector_common::entries::{RouteEntry, RouteKind};

use super::Plan;
use crate::routes::{
    Origin, Proxy, Refusal, Route, Target,
    compile::proxy_entry,
    live::{Change, RouteWrite, Slot, ports::edit, space::Atom},
    refusal::Budget,
    spaces::Claim,
};

impl Plan<'_> {
    /// Takes the routes in and out: slots, targets, and what they say of ports.
    pub(super) fn take(&mut self, changes: &[Change], budget: &mut Budget) -> Result<(), Refusal> {
        for Change { origin, remove, add } in changes {
            for name in remove {
                if let Some(slot) = self.live.slots.named(*origin, name) {
                    self.remove(slot);
                }
            }
            for route in add {
                self.add(*origin, route.clone(), budget)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, number: u32) {
        let Some(slot) = self.live.slots.remove(number) else { return };
        self.edit(number, slot.origin, &slot.route, false);
        self.removed.push((number, slot));
    }

    fn add(&mut self, origin: Origin, route: Arc<Route>, budget: &mut Budget) -> Result<(), Refusal> {
        let before = self.live.slots.named(origin, &route.name);
        let old = before.and_then(|number| Some((number, self.live.slots.get(number)?.clone())));
        if let Some((number, old)) = old {
            if old.route == route {
                return Ok(());
            }
            if same_match(&old.route, &route) {
                let entry = self.target(&route);
                let slot = Slot { origin, route, entry };
                self.live.slots.replace(number, slot);
                self.delta.routes.push(RouteWrite { slot: number, entry, name: None });
                self.retargeted.push((number, old));
                return Ok(());
            }
            self.remove(number);
        }
        let atoms = route.ports.len() * route.destinations.len().max(1) * route.sources.len().max(1);
        budget.spend(atoms)?;
        let entry = self.target(&route);
        let number = self.live.slots.add(Slot { origin, route: route.clone(), entry });
        self.delta.routes.push(RouteWrite { slot: number, entry, name: Some(route.name.clone()) });
        self.added.push(number);
        self.edit(number, origin, &route, true);
        Ok(())
    }

    /// The entry of a route, whose target it acquires.
    fn target(&mut self, route: &Route) -> RouteEntry {
        let (kind, target) = match &route.target {
            Target::Pass => (RouteKind::Pass, 0),
            Target::Drop => (RouteKind::Drop, 0),
            Target::Proxy(at) => {
                let proxy = Proxy { protocol: route.protocol, at: *at };
                let (number, is_first) = self.live.proxies.acquire(&proxy);
                if is_first {
                    self.delta.proxies.push((number, proxy_entry(&proxy)));
                }
                (RouteKind::Proxy, number)
            }
            Target::Interface(hop) => {
                let (number, is_first) = self.live.next_hops.acquire(hop);
                if is_first {
                    self.delta.next_hops.push((number, hop.clone()));
                }
                (RouteKind::Interface, number)
            }
        };
        RouteEntry { kind: kind as u8, on_unavailable: route.on_unavailable as u8, pad: 0, target }
    }

    /// Adds what a route says of ports, or takes it away.
    pub(super) fn edit(&mut self, slot: u32, origin: Origin, route: &Route, add: bool) {
        for (index, ports) in self.live.ports.iter_mut().enumerate() {
            if !ports.concern(route) {
                continue;
            }
            for (range, width) in ports.claims(route) {
                if width > 1 {
                    let count = ports.ranges.entry((range, Claim { slot, width })).or_default();
                    *count = if add { *count + 1 } else { count.saturating_sub(1) };
                    if *count == 0 {
                        ports.ranges.remove(&(range, Claim { slot, width }));
                    }
                    self.ranges[index] = true;
                    continue;
                }
                let atoms = ports.atoms(route, width, |source, width| Atom { source, width, origin, slot });
                let single = ports.singles.entry(range.first()).or_default();
                let changed = edit(&mut single.space, route, &atoms, add);
                self.touched.entry((index, range.first())).or_default().extend(changed);
            }
        }
    }
}

/// Routes that differ in nothing but their targets and in what happens without: one store changes the one into the other.
fn same_match(a: &Route, b: &Route) -> bool {
    let kind = |route: &Route| std::mem::discriminant(&route.target);
    let proxy = |route: &Route| match &route.target {
        // The proxy's own port and its families are part of what the route matches.
        Target::Proxy(proxy) => Some((proxy.port, proxy.v4.is_some(), proxy.v6.is_some())),
        Target::Interface(hop) => Some((0, true, hop.via.is_none_or(|via| via.is_ipv6()))),
        Target::Pass | Target::Drop => None,
    };
    a.protocol == b.protocol
        && a.ports == b.ports
        && a.destinations == b.destinations
        && a.sources == b.sources
        && kind(a) == kind(b)
        && proxy(a) == proxy(b)
}
