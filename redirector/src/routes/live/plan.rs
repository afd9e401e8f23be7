//! A change, planned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use ipnet::IpNet;
use redirector_common::entries::{NEXT_HOPS, PortWord, PrefixEntry, RouteEntry, RouteKind, Space as Number};

use super::{
    Change, Delta, Live, RouteWrite, Slot, Unused,
    ports::{Class, Classes, edit},
    space::{Atom, Decisions, Space, tie},
};
use crate::routes::{
    Origin, PortRange, Prefix, Refusal, Route, Target, Tie, compile::proxy_entry, refusal::Budget,
    spaces::Claim,
};

/// A change that was planned: to be committed, or else it is discarded.
pub struct Plan<'a> {
    live: &'a mut Live,
    delta: Delta,
    /// Slots of routes that come.
    added: Vec<u32>,
    /// Routes that go, with the slots that they had.
    removed: Vec<(u32, Slot)>,
    /// Routes whose target changed, as they were.
    retargeted: Vec<(u32, Slot)>,
    /// By index of family and protocol, and port: destinations whose atoms changed.
    touched: BTreeMap<(usize, u16), BTreeSet<IpNet>>,
    /// Which have other ranges than before.
    ranges: [bool; 4],
    decisions: BTreeMap<(usize, u16), Decisions>,
    classes: [Option<Classes>; 4],
    /// Single ports whose prefixes are written from now on, or no more.
    written: Vec<((usize, u16), bool)>,
    /// Tables that nodes lead to, and led to.
    acquired: Vec<u32>,
    released: Vec<u32>,
    /// Numbers of new classes.
    numbers: Vec<u32>,
    /// Entries of `PREFIXES` afterwards.
    prefixes: usize,
    /// Whether what routes no longer lead to was released.
    targets_released: bool,
    committed: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(live: &'a mut Live, changes: &[Change]) -> Result<Self, Vec<Refusal>> {
        let prefixes = live.prefixes;
        let mut plan = Self {
            live,
            delta: Delta::default(),
            added: Vec::new(),
            removed: Vec::new(),
            retargeted: Vec::new(),
            touched: BTreeMap::new(),
            ranges: [false; 4],
            decisions: BTreeMap::new(),
            classes: [const { None }; 4],
            written: Vec::new(),
            acquired: Vec::new(),
            released: Vec::new(),
            numbers: Vec::new(),
            prefixes,
            targets_released: false,
            committed: false,
        };
        // What is returned is discarded on its way, if it is not the plan.
        plan.check(changes)?;
        let mut budget = Budget::default();
        plan.take(changes, &mut budget).map_err(|refusal| vec![refusal])?;
        let result = plan.decide(&mut budget);
        let mut refusals: Vec<Refusal> = plan.ties().into_iter().map(Refusal::Tie).collect();
        refusals.extend(result.err());
        refusals.extend(plan.over_limits());
        if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
    }

    /// What is to be written.
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// Lets the change be as it was written, and returns what was written.
    pub fn commit(mut self) -> Delta {
        self.committed = true;
        let live = &mut *self.live;
        for ((index, port), decisions) in &self.decisions {
            let Some(single) = live.ports[*index].singles.get_mut(port) else { continue };
            for (destination, entry) in decisions {
                single.space.set(destination, *entry);
            }
        }
        for ((index, port), written) in &self.written {
            if let Some(single) = live.ports[*index].singles.get_mut(port) {
                single.written = *written;
            }
        }
        for (index, port) in self.touched.keys() {
            live.ports[*index].forget_empty(*port);
        }
        for (ports, classes) in live.ports.iter_mut().zip(&mut self.classes) {
            if let Some(classes) = classes.take() {
                ports.classes = classes;
            }
        }
        for (index, word) in &self.delta.words {
            set_word(&mut live.words, *index, *word);
        }
        live.prefixes = self.prefixes;
        self.acquired.iter().for_each(|number| live.sources.acquire(*number));
        for number in &self.released {
            if live.sources.release(*number) {
                self.delta.unused.sources.extend(live.sources.prefixes(*number));
                self.delta.unused.tables.push(*number);
            }
        }
        self.delta.unused.tables.iter().for_each(|number| live.sources.forget(*number));
        std::mem::take(&mut self.delta)
    }

    /// What a route is called.
    pub(super) fn name(&self, slot: u32) -> String {
        self.live.slots.get(slot).map_or_else(String::new, |slot| slot.route.name.clone())
    }

    /// What can be told of the routes before any is taken.
    fn check(&self, changes: &[Change]) -> Result<(), Vec<Refusal>> {
        let mut refusals = Vec::new();
        let (mut come, mut go) = (0_usize, 0_usize);
        for Change { origin, remove, add } in changes {
            let origin = *origin;
            let mut names = HashSet::with_capacity(add.len());
            for route in add {
                let name = || route.name.clone();
                if let Err(error) = route.check() {
                    refusals.push(Refusal::Route { origin, name: name(), error });
                }
                if !names.insert(&route.name) {
                    refusals.push(Refusal::SameName { origin, name: name() });
                }
                come += usize::from(self.live.slots.named(origin, &route.name).is_none());
            }
            go += remove.iter().filter(|name| self.live.slots.named(origin, name).is_some()).count();
        }
        let limit = self.live.limits.routes.min(PortWord::NUMBERS);
        refusals.extend(Refusal::limit("routes", (self.live.slots.len() + come).saturating_sub(go), limit));
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    /// Takes the routes in and out: slots, targets, and what they say of ports.
    fn take(&mut self, changes: &[Change], budget: &mut Budget) -> Result<(), Refusal> {
        for Change { origin, remove, add } in changes {
            for name in remove {
                if let Some(slot) = self.live.slots.named(*origin, name) {
                    self.remove(slot);
                }
            }
            for route in add {
                self.add(*origin, route, budget)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, number: u32) {
        let Some(slot) = self.live.slots.remove(number) else { return };
        self.edit(number, slot.origin, &slot.route, false);
        self.removed.push((number, slot));
    }

    fn add(&mut self, origin: Origin, route: &Route, budget: &mut Budget) -> Result<(), Refusal> {
        let before = self.live.slots.named(origin, &route.name);
        let old = before.and_then(|number| Some((number, self.live.slots.get(number)?.clone())));
        if let Some((number, old)) = old {
            if *old.route == *route {
                return Ok(());
            }
            if same_match(&old.route, route) {
                let entry = self.target(route);
                let slot = Slot { origin, route: Arc::new(route.clone()), entry };
                self.live.slots.replace(number, slot);
                self.delta.routes.push(RouteWrite { slot: number, entry, name: None });
                self.retargeted.push((number, old));
                return Ok(());
            }
            self.remove(number);
        }
        let atoms = route.ports.len() * route.destinations.len().max(1) * route.sources.len().max(1);
        budget.spend(atoms)?;
        let entry = self.target(route);
        let route = Arc::new(route.clone());
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
            Target::Proxy(proxy) => {
                let (number, is_first) = self.live.proxies.acquire(proxy);
                if is_first {
                    self.delta.proxies.push((number, proxy_entry(proxy)));
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
    fn edit(&mut self, slot: u32, origin: Origin, route: &Route, add: bool) {
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

    /// Decides what the change concerns, and says what is to be written.
    fn decide(&mut self, budget: &mut Budget) -> Result<(), Refusal> {
        for ((index, port), changed) in &self.touched {
            let live = &mut *self.live;
            let Some(single) = live.ports[*index].singles.get(port) else { continue };
            let decisions = single.space.decide(changed, &mut live.sources, budget)?;
            self.decisions.insert((*index, *port), decisions);
        }
        for index in (0..self.ranges.len()).filter(|index| self.ranges[*index]).collect::<Vec<_>>() {
            self.classify(index, budget)?;
        }
        self.write();
        Ok(())
    }

    /// Makes the range classes anew. One that has the same claims as before is the same.
    fn classify(&mut self, index: usize, budget: &mut Budget) -> Result<(), Refusal> {
        let parts = self.live.ports[index].parts(budget)?;
        let mut classes = Classes::default();
        for part in parts {
            let class = match classes.by_claims.get(&part.claims) {
                Some(class) => class.clone(),
                None => match self.live.ports[index].classes.by_claims.get(&part.claims) {
                    Some(class) => class.clone(),
                    None => Rc::new(self.class(index, &part.claims, budget)?),
                },
            };
            classes.by_claims.insert(part.claims, class.clone());
            classes.parts.push((part.ports, class));
        }
        self.classes[index] = Some(classes);
        Ok(())
    }

    fn class(&mut self, index: usize, claims: &[Claim], budget: &mut Budget) -> Result<Class, Refusal> {
        let live = &mut *self.live;
        let mut space = Space::default();
        let mut changed = BTreeSet::new();
        for Claim { slot, width } in claims {
            let Some(Slot { origin, route, .. }) = live.slots.get(*slot) else { continue };
            let atom = |source, width| Atom { source, width, origin: *origin, slot: *slot };
            let atoms = live.ports[index].atoms(route, *width, atom);
            budget.spend(atoms.len())?;
            changed.extend(edit(&mut space, route, &atoms, true));
        }
        let decisions = space.decide(&changed, &mut live.sources, budget)?;
        for (destination, entry) in &decisions {
            space.set(destination, *entry);
        }
        let number = live.classes.take();
        self.numbers.push(number);
        Ok(Class { number, space })
    }

    /// What is to be written, from what was decided.
    fn write(&mut self) {
        let mut ports: BTreeSet<(usize, u16)> = self.touched.keys().copied().collect();
        for index in 0..self.classes.len() {
            let Some(classes) = self.classes[index].take() else { continue };
            self.write_classes(index, &classes, &mut ports);
            self.classes[index] = Some(classes);
        }
        for (index, port) in ports {
            self.write_port(index, port);
        }
        // Each once, and only those that are not in the map.
        let tables: BTreeSet<u32> = self.acquired.iter().copied().collect();
        for number in tables {
            if self.live.sources.is_new(number) {
                self.delta.sources.extend(self.live.sources.prefixes(number));
            }
        }
        self.delta.prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.bits));
        self.delta.removed.sort_by_key(|prefix| prefix.bits);
        self.release_targets();
    }

    /// New classes, and those that are gone; and which ports are in another class than before.
    fn write_classes(&mut self, index: usize, classes: &Classes, ports: &mut BTreeSet<(usize, u16)>) {
        let old = self.live.ports[index].classes.clone();
        for (claims, class) in &classes.by_claims {
            if old.by_claims.contains_key(claims) {
                continue;
            }
            for (destination, entry) in class.space.entries() {
                self.acquired.extend(entry.is_table().then(|| entry.number()));
                self.prefixes += 1;
                self.delta.prefixes.push(Prefix::new(Number::class(class.number).0, &destination, entry));
            }
        }
        for (claims, class) in &old.by_claims {
            if classes.by_claims.contains_key(claims) {
                continue;
            }
            for (destination, entry) in class.space.entries() {
                self.released.extend(entry.is_table().then(|| entry.number()));
                self.prefixes -= 1;
                self.delta.unused.prefixes.push(Prefix::new(
                    Number::class(class.number).0,
                    &destination,
                    entry,
                ));
            }
            self.delta.unused.classes.push(class.number);
        }
        let number = |classes: &Classes, port| classes.of(port).map(|class| class.number);
        for (range, _) in old.parts.iter().chain(&classes.parts) {
            let differ =
                (range.first()..=range.last()).filter(|port| number(&old, *port) != number(classes, *port));
            ports.extend(differ.map(|port| (index, port)));
        }
    }

    /// The word of a port, and the prefixes that it needs of the single port's.
    fn write_port(&mut self, index: usize, port: u16) {
        let none = Decisions::new();
        let decisions = self.decisions.get(&(index, port)).unwrap_or(&none).clone();
        let plane = &self.live.ports[index];
        let classes = self.classes[index].as_ref().unwrap_or(&plane.classes);
        let (word, needed) = plane.word(port, &decisions, classes);
        let place = plane.index(port);
        let before = self.live.words.get(&place).copied().unwrap_or(PortWord::NONE);
        // Connections that were steered go on: they are found by it.
        let word = if before.is_steered() { word.with_steered() } else { word };
        if word != before {
            self.delta.words.push((place, word));
        }
        let Some(single) = plane.singles.get(&port) else { return };
        let prefix = |destination: &IpNet, entry| Prefix::new(plane.number(port).0, destination, entry);
        for (destination, entry) in &decisions {
            let old = single.space.entry(destination);
            // Tables have users whether or not the prefixes that lead to them are written.
            self.acquired.extend(entry.filter(|entry| entry.is_table()).map(PrefixEntry::number));
            self.released.extend(old.filter(|entry| entry.is_table()).map(PrefixEntry::number));
            if !(single.written && needed) {
                continue;
            }
            match (entry, old) {
                (Some(entry), old) => {
                    self.prefixes += usize::from(old.is_none());
                    self.delta.prefixes.push(prefix(destination, *entry));
                }
                (None, Some(old)) => {
                    self.prefixes -= 1;
                    self.delta.removed.push(prefix(destination, old));
                }
                (None, None) => {}
            }
        }
        match (single.written, needed) {
            (false, true) => {
                let all = single.space.after(&decisions);
                self.delta.prefixes.extend(all.map(|(destination, entry)| prefix(&destination, entry)));
                self.prefixes += single.space.after(&decisions).count();
                self.written.push(((index, port), true));
            }
            (true, false) => {
                let all = single.space.entries().map(|(destination, entry)| prefix(&destination, entry));
                // Where no route is left, whoever misses them finds what is to be found.
                match word.has_route() {
                    true => self.delta.unused.prefixes.extend(all),
                    false => self.delta.removed.extend(all),
                }
                self.prefixes -= single.space.entries().count();
                self.written.push(((index, port), false));
            }
            _ => {}
        }
    }

    /// What routes that are gone or have another target led to, and their slots.
    fn release_targets(&mut self) {
        self.targets_released = true;
        let unused: &mut Unused = &mut self.delta.unused;
        for (number, slot) in &self.removed {
            release(self.live, unused, &slot.route);
            unused.routes.push(*number);
        }
        for (_, slot) in &self.retargeted {
            release(self.live, unused, &slot.route);
        }
    }

    fn over_limits(&self) -> Vec<Refusal> {
        let (live, limits) = (&self.live, &self.live.limits);
        let mut refusals = Vec::from_iter(Refusal::limit("proxies", live.proxies.len(), limits.proxies));
        refusals.extend(Refusal::limit("next hops", live.next_hops.len(), NEXT_HOPS));
        refusals.extend(Refusal::limit("prefixes", self.prefixes, limits.prefixes));
        refusals
    }

    /// Routes of one origin between which nothing decides, wherever the change concerns it.
    fn ties(&self) -> Vec<Tie> {
        let mut ties: HashMap<(u32, u32), Tie> = HashMap::new();
        let mut look = |space: &Space, destination: &IpNet, protocol, ports: PortRange| {
            for [a, b] in space.ties(destination) {
                let said = || tie(self, protocol, ports, *destination, [a, b]);
                ties.entry((a.slot, b.slot)).or_insert_with(said);
            }
        };
        for ((index, port), changed) in &self.touched {
            let ports = &self.live.ports[*index];
            let Some(single) = ports.singles.get(port) else { continue };
            for destination in changed {
                look(&single.space, destination, ports.protocol, PortRange::between(*port, *port));
            }
        }
        for (ports, classes) in self.live.ports.iter().zip(&self.classes) {
            let Some(classes) = classes else { continue };
            for (range, class) in &classes.parts {
                for (destination, _) in class.space.entries() {
                    look(&class.space, &destination, ports.protocol, *range);
                }
            }
        }
        let mut ties: Vec<_> = ties.into_iter().collect();
        ties.sort_by_key(|(slots, _)| *slots);
        ties.into_iter().map(|(_, tie)| tie).collect()
    }
}

/// A plan that is not committed never was.
impl Drop for Plan<'_> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        std::mem::take(&mut self.numbers).iter().for_each(|number| self.live.classes.give_back(*number));
        for number in std::mem::take(&mut self.added) {
            let Some(slot) = self.live.slots.remove(number) else { continue };
            self.edit(number, slot.origin, &slot.route, false);
            discard_target(self.live, &slot.route);
            self.live.slots.give_back(number);
        }
        for (number, old) in std::mem::take(&mut self.retargeted) {
            if let Some(new) = self.live.slots.replace(number, old.clone()) {
                discard_target(self.live, &new.route);
            }
            if self.targets_released {
                restore_target(self.live, &old);
            }
        }
        for (number, slot) in std::mem::take(&mut self.removed) {
            self.edit(number, slot.origin, &slot.route, true);
            if self.targets_released {
                restore_target(self.live, &slot);
            }
            self.live.slots.restore(number, slot);
        }
        for (index, port) in self.touched.keys() {
            self.live.ports[*index].forget_empty(*port);
        }
        self.live.sources.forget_unused();
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

fn release(live: &mut Live, unused: &mut Unused, route: &Route) {
    match &route.target {
        Target::Proxy(proxy) => unused.proxies.extend(live.proxies.release(proxy)),
        Target::Interface(hop) => unused.next_hops.extend(live.next_hops.release(hop)),
        Target::Pass | Target::Drop => {}
    }
}

/// Takes back that a route led somewhere.
fn discard_target(live: &mut Live, route: &Route) {
    match &route.target {
        Target::Proxy(proxy) => {
            if let Some(number) = live.proxies.release(proxy) {
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
        Target::Proxy(proxy) => live.proxies.restore(proxy, slot.entry.target),
        Target::Interface(hop) => live.next_hops.restore(hop, slot.entry.target),
        Target::Pass | Target::Drop => {}
    }
}

/// Sets a word, of which those that say nothing are not kept.
pub(super) fn set_word(words: &mut BTreeMap<u32, PortWord>, index: u32, word: PortWord) {
    if word == PortWord::NONE {
        words.remove(&index);
    } else {
        words.insert(index, word);
    }
}
