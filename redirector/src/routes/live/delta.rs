//! What a change writes to the maps, in the order in which it must be written: every packet then meets one whole route, that
//! before the change or that after it.

use std::collections::HashSet;

use redirector_common::entries::{PortWord, ProxyEntry, RouteEntry};

use crate::routes::{Compiled, NextHop, Prefix};

/// The writes of one change, field by field in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// `PROXIES`, by slot.
    pub proxies: Vec<(u32, ProxyEntry)>,
    /// What `NEXT_HOPS` is about, by slot.
    pub next_hops: Vec<(u32, NextHop)>,
    /// `ROUTES` and `ROUTE_NAMES`, by slot. Slots that were free have their counters cleared.
    pub routes: Vec<RouteWrite>,
    /// New tables in `SOURCES`.
    pub sources: Vec<Prefix>,
    /// Entries of `PREFIXES`, the longest destinations first: none is cut off from its route by a shorter one.
    pub prefixes: Vec<Prefix>,
    /// `PORTS`: from here on packets find the rest.
    pub words: Vec<(u32, PortWord)>,
    /// Entries of `PREFIXES` that are to go, the shortest destinations first, in spaces that packets still look at.
    pub removed: Vec<Prefix>,
    /// What nothing leads to any more. A packet may be on its way with an older word or entry: only when all such are done
    /// may it go.
    pub unused: Unused,
}

/// A slot of `ROUTES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteWrite {
    /// The slot.
    pub slot: u32,
    /// What the route does.
    pub entry: RouteEntry,
    /// What it is called; none where the slot had this route before.
    pub name: Option<String>,
}

/// What nothing leads to any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// Entries of `PREFIXES` in spaces that no word names.
    pub prefixes: Vec<Prefix>,
    /// Entries of `SOURCES` in tables that no prefix names.
    pub sources: Vec<Prefix>,
    /// Numbers of these tables.
    pub tables: Vec<u32>,
    /// Numbers of range classes.
    pub classes: Vec<u32>,
    /// Slots of `ROUTES`.
    pub routes: Vec<u32>,
    /// Slots of `PROXIES`, with those of their listeners.
    pub proxies: Vec<u32>,
    /// Slots of `NEXT_HOPS`.
    pub next_hops: Vec<u32>,
}

impl Delta {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Unused {
    /// Whether nothing is to go.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what became unused later.
    pub fn extend(&mut self, other: Self) {
        self.prefixes.extend(other.prefixes);
        self.sources.extend(other.sources);
        self.tables.extend(other.tables);
        self.classes.extend(other.classes);
        self.routes.extend(other.routes);
        self.proxies.extend(other.proxies);
        self.next_hops.extend(other.next_hops);
    }

    /// Whether a change writes into a space of which this still stands in the map: it must go first, or packets would
    /// find it there again.
    pub fn is_in_the_way_of(&self, delta: &Delta) -> bool {
        let scopes: HashSet<u32> = self.prefixes.iter().map(|prefix| prefix.key.scope).collect();
        delta.prefixes.iter().any(|prefix| scopes.contains(&prefix.key.scope))
    }
}

/// What is written into maps that hold nothing yet.
impl From<&Compiled> for Delta {
    fn from(compiled: &Compiled) -> Self {
        let routes = (0..).zip(&compiled.routes);
        let routes = routes.map(|(slot, route)| RouteWrite {
            slot,
            entry: route.entry,
            name: Some(route.name.clone()),
        });
        Self {
            proxies: (0..).zip(compiled.proxies.iter().copied()).collect(),
            next_hops: (0..).zip(compiled.next_hops.iter().cloned()).collect(),
            routes: routes.collect(),
            sources: compiled.sources.clone(),
            prefixes: compiled.prefixes.clone(),
            words: compiled.ports.clone(),
            ..Self::default()
        }
    }
}
