//! What is to be written, from what was decided.

use std::collections::BTreeSet;

use ipnet::IpNet;
use redirector_common::entries::{PortWord, PrefixEntry, Space as Number};

use super::Plan;
use crate::routes::{
    Prefix, Proxy, Route, Target,
    live::{Live, Unused, ports::Classes, space::Decisions},
};

impl Plan<'_> {
    /// What is to be written, from what was decided.
    pub(super) fn write(&mut self) {
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
}

fn release(live: &mut Live, unused: &mut Unused, route: &Route) {
    match &route.target {
        Target::Proxy(at) => {
            let proxy = Proxy { protocol: route.protocol, at: *at };
            unused.proxies.extend(live.proxies.release(&proxy));
        }
        Target::Interface(hop) => unused.next_hops.extend(live.next_hops.release(hop)),
        Target::Pass | Target::Drop => {}
    }
}
