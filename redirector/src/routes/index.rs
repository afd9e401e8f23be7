//! The entries of the maps in memory, for the look-up of the programs.

use std::collections::{BTreeSet, HashMap};

use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{PortWord, PrefixEntry, PrefixKey, RouteKind, Space, port_index},
    lookup::{self, Tables},
};

use super::{Compiled, Prefix};

/// What the programs find for a new connection, found without them.
pub struct Index {
    ports: HashMap<u32, PortWord>,
    prefixes: Trie,
    sources: Trie,
    /// Of each slot of `ROUTES`, whether it leads to a proxy.
    proxies: Vec<bool>,
}

impl Index {
    /// The entries of some routes.
    pub fn new(compiled: &Compiled) -> Self {
        let to_proxy = |kind: u8| kind == RouteKind::Proxy as u8;
        Self {
            ports: compiled.ports.iter().copied().collect(),
            prefixes: Trie::new(&compiled.prefixes),
            sources: Trie::new(&compiled.sources),
            proxies: compiled.routes.iter().map(|route| to_proxy(route.entry.kind)).collect(),
        }
    }

    /// What the routes say of a new connection's port.
    pub fn word(&self, flow: &Flow) -> PortWord {
        self.port(flow.family, flow.protocol, flow.destination_port)
    }

    /// The slot of the route that a new connection has.
    pub fn route(&self, flow: &Flow) -> Option<u32> {
        lookup::route(self, self.word(flow), flow)
    }

    /// Whether a new connection is to reach a proxy.
    pub fn is_steered(&self, flow: &Flow) -> bool {
        let leads = |slot: u32| self.proxies.get(slot as usize).is_some_and(|to_proxy| *to_proxy);
        !flow.never_redirected() && self.route(flow).is_some_and(leads)
    }
}

impl Tables for Index {
    fn port(&self, family: Family, protocol: Protocol, port: u16) -> PortWord {
        self.ports.get(&port_index(family, protocol, port)).copied().unwrap_or(PortWord::NONE)
    }

    fn prefix(&self, space: Space, destination: &Address) -> Option<PrefixEntry> {
        self.prefixes.longest(space.0, destination)
    }

    fn source(&self, table: u32, source: &Address) -> Option<PrefixEntry> {
        self.sources.longest(table, source)
    }
}

/// As an LPM trie of the kernel answers: a hash look-up for each length that a scope has.
struct Trie {
    entries: HashMap<(u32, u32, u128), PrefixEntry>,
    /// Lengths of prefixes, in bits, by scope.
    lengths: HashMap<u32, BTreeSet<u32>>,
}

impl Trie {
    fn new(prefixes: &[Prefix]) -> Self {
        let mut lengths: HashMap<u32, BTreeSet<u32>> = HashMap::new();
        let entries = prefixes.iter().map(|prefix| {
            let (scope, length) = (prefix.key.scope, prefix.bits - PrefixKey::SCOPE_BITS);
            lengths.entry(scope).or_default().insert(length);
            ((scope, length, first_bits(&prefix.key.address, length)), prefix.entry)
        });
        Self { entries: entries.collect(), lengths }
    }

    fn longest(&self, scope: u32, address: &Address) -> Option<PrefixEntry> {
        let lengths = self.lengths.get(&scope)?.iter().rev();
        let mut entries = lengths
            .filter_map(|&length| self.entries.get(&(scope, length, first_bits(address, length))).copied());
        entries.next()
    }
}

/// An address without the bits behind a prefix of this length.
fn first_bits(address: &Address, length: u32) -> u128 {
    let bits = u128::from_be_bytes(address.octets());
    bits & !u128::MAX.checked_shr(length).unwrap_or(0)
}
