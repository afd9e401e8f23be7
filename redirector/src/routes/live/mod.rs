//! The routes of all origins as they change, and the entries of the maps for them.
//!
//! What [`compile`](super::compile) makes of whole sets of routes, this makes of changes: it decides anew only the nodes
//! that a change concerns and those below them, and says what is to be written. Slots and numbers stay with whom they
//! have. A change is first planned, which alters nothing that can be seen, and then either committed or discarded.

mod delta;
mod look;
mod matches;
mod numbers;
mod plan;
mod ports;
mod slots;
mod sources;
mod space;

use std::{collections::BTreeMap, sync::Arc};

use redirector_common::{
    Family, Protocol,
    entries::{NEXT_HOPS, PortWord},
};

use super::{Limits, NextHop, Origin, Prefix, Proxy, Refusal, Route, Target};
pub use delta::{Delta, RouteWrite, Unused};
pub use look::{MOST_OVERRIDES, Override};
pub use matches::Match;
use numbers::Numbers;
pub use plan::Plan;
use ports::Ports;
pub use slots::Slot;
use slots::{Shared, Slots};
use sources::SourceTables;

/// What one origin changes. Routes are removed before others are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who changes its routes.
    pub origin: Origin,
    /// Names of routes that go.
    pub remove: Vec<String>,
    /// Routes that come; one of a name that is there takes its place.
    pub add: Vec<Arc<Route>>,
}

impl Change {
    /// A change.
    pub fn new(origin: Origin, remove: Vec<String>, add: Vec<Route>) -> Self {
        Self { origin, remove, add: add.into_iter().map(Arc::new).collect() }
    }
}

/// The routes of all origins.
pub struct Live {
    limits: Limits,
    slots: Slots,
    proxies: Shared<Proxy>,
    next_hops: Shared<NextHop>,
    /// By family and protocol.
    ports: [Ports; 4],
    sources: SourceTables,
    classes: Numbers,
    /// The words of `PORTS` that are not zero.
    words: BTreeMap<u32, PortWord>,
    /// Entries of `PREFIXES` that words lead to.
    prefixes: usize,
}

impl Live {
    /// No routes yet.
    pub fn new(limits: Limits) -> Self {
        use {Family::*, Protocol::*};
        Self {
            limits,
            slots: Slots::default(),
            proxies: Shared::default(),
            next_hops: Shared::default(),
            ports: [(V4, Tcp), (V4, Udp), (V6, Tcp), (V6, Udp)]
                .map(|(family, protocol)| Ports::new(family, protocol)),
            sources: SourceTables::new(limits.sources),
            classes: Numbers::default(),
            words: BTreeMap::new(),
            prefixes: 0,
        }
    }

    /// The change that leaves an origin with these routes.
    pub fn replacement(&self, origin: Origin, routes: Vec<Route>) -> Change {
        let kept: std::collections::HashSet<&str> = routes.iter().map(|route| route.name.as_str()).collect();
        let remove = self.slots.of(origin).map(|(name, _)| name).filter(|name| !kept.contains(name.as_str()));
        let remove = remove.cloned().collect();
        Change::new(origin, remove, routes)
    }

    /// Plans changes.
    ///
    /// # Errors
    ///
    /// Every route that is wrong by itself or has the name of another, or else every tie; or what there is no room for. Nothing
    /// is changed then.
    pub fn plan(&mut self, changes: &[Change]) -> Result<Plan<'_>, Vec<Refusal>> {
        Plan::new(self, changes)
    }

    /// Whether changes find free slots, before those that are unused are given back. A change that does not go together is told so
    /// by [`Live::plan`].
    pub fn has_room_for(&self, changes: &[Change]) -> bool {
        let added = || changes.iter().flat_map(|change| &change.add);
        let come = added().count();
        let proxies = added().filter_map(|route| match &route.target {
            Target::Proxy(at) => Some(Proxy { protocol: route.protocol, at: *at }),
            _ => None,
        });
        let next_hops = added().filter_map(|route| match &route.target {
            Target::Interface(hop) => Some(hop.clone()),
            _ => None,
        });
        come <= self.slots.room(self.limits.routes.min(PortWord::NUMBERS))
            && self.proxies.has_room_for(proxies, self.limits.proxies)
            && self.next_hops.has_room_for(next_hops, NEXT_HOPS)
    }

    /// What was unused is gone from the maps, and its numbers may be another's.
    pub fn give_back(&mut self, unused: &Unused) {
        unused.tables.iter().for_each(|number| self.sources.give_back(*number));
        unused.classes.iter().for_each(|number| self.classes.give_back(*number));
        unused.routes.iter().for_each(|number| self.slots.give_back(*number));
        unused.proxies.iter().for_each(|number| self.proxies.give_back(*number));
        unused.next_hops.iter().for_each(|number| self.next_hops.give_back(*number));
    }

    /// How many routes an origin gives.
    pub fn count(&self, origin: Origin) -> usize {
        self.slots.count(origin)
    }

    /// Every route, by slot.
    pub fn routes(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter()
    }

    /// The route in a slot.
    pub fn route(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot)
    }

    /// The slot of an origin's route of this name.
    pub fn slot(&self, origin: Origin, name: &str) -> Option<u32> {
        self.slots.named(origin, name)
    }

    /// The proxies that routes lead to, with their slots.
    pub fn proxies(&self) -> impl Iterator<Item = (&Proxy, u32)> {
        self.proxies.iter()
    }

    /// One more than the highest slot of `ROUTES` that was ever used.
    pub fn slots_end(&self) -> u32 {
        self.slots.end()
    }

    /// How much there is of what the limits bound: routes, prefixes, sources, proxies.
    pub fn usage(&self) -> Limits {
        Limits {
            routes: self.slots.len() as u32,
            prefixes: self.prefixes as u32,
            sources: self.sources.entries() as u32,
            proxies: self.proxies.len() as u32,
        }
    }

    /// What stands in the maps: the words, the prefixes, the sources.
    pub fn entries(&self) -> (Vec<(u32, PortWord)>, Vec<Prefix>, Vec<Prefix>) {
        let mut prefixes = Vec::new();
        let mut tables = std::collections::BTreeSet::new();
        for ports in &self.ports {
            let singles = ports.singles.iter().filter(|(_, single)| single.written);
            let singles = singles.map(|(port, single)| (ports.number(*port), &single.space));
            let classes = ports.classes.by_claims.values();
            let classes =
                classes.map(|class| (redirector_common::entries::Space::class(class.number), &class.space));
            for (number, space) in singles.chain(classes) {
                prefixes.extend(
                    space.entries().map(|(destination, entry)| Prefix::new(number.0, &destination, entry)),
                );
            }
            let spaces = ports.singles.values().map(|single| &single.space);
            let spaces = spaces.chain(ports.classes.by_claims.values().map(|class| &class.space));
            let entries = spaces.flat_map(|space| space.entries());
            tables.extend(entries.filter(|(_, entry)| entry.is_table()).map(|(_, entry)| entry.number()));
        }
        let sources = tables.iter().flat_map(|number| self.sources.prefixes(*number)).collect();
        (self.words.iter().map(|(index, word)| (*index, *word)).collect(), prefixes, sources)
    }

    /// Lets words forget that proxy routes have named their ports, where none does now.
    pub fn unsteer(&mut self, mut may_forget: impl FnMut(u32) -> bool) -> Vec<(u32, PortWord)> {
        let mut forgotten = Vec::new();
        for (&index, word) in self.words.iter().filter(|(_, word)| word.is_steered()) {
            // An index is family, protocol and port, one behind the other (`port_index`).
            let (plane, port) = (&self.ports[(index >> 16) as usize], index as u16);
            let (now, _) = plane.word(port, &space::Decisions::new(), &plane.classes);
            if now != *word && may_forget(index) {
                forgotten.push((index, now));
            }
        }
        for (index, word) in &forgotten {
            plan::set_word(&mut self.words, *index, *word);
        }
        forgotten
    }
}
