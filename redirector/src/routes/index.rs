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

/// The single writes of a change.
#[cfg(test)]
impl Index {
    pub(super) fn set_word(&mut self, index: u32, word: PortWord) {
        self.ports.insert(index, word);
    }

    pub(super) fn set_prefix(&mut self, prefix: &Prefix) {
        self.prefixes.insert(prefix);
    }

    pub(super) fn remove_prefix(&mut self, prefix: &Prefix) -> bool {
        self.prefixes.remove(prefix)
    }

    pub(super) fn set_source(&mut self, prefix: &Prefix) {
        self.sources.insert(prefix);
    }

    pub(super) fn remove_source(&mut self, prefix: &Prefix) -> bool {
        self.sources.remove(prefix)
    }

    /// How many entries there are: words, prefixes, sources.
    pub(super) fn len(&self) -> [usize; 3] {
        let words = self.ports.values().filter(|word| **word != PortWord::NONE).count();
        [words, self.prefixes.entries.len(), self.sources.entries.len()]
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
        let mut trie = Self { entries: HashMap::with_capacity(prefixes.len()), lengths: HashMap::new() };
        prefixes.iter().for_each(|prefix| trie.insert(prefix));
        trie
    }

    fn insert(&mut self, prefix: &Prefix) {
        let (scope, length) = (prefix.key.scope, prefix.bits - PrefixKey::SCOPE_BITS);
        self.lengths.entry(scope).or_default().insert(length);
        self.entries.insert((scope, length, first_bits(&prefix.key.address, length)), prefix.entry);
    }

    #[cfg(test)]
    fn remove(&mut self, prefix: &Prefix) -> bool {
        let length = prefix.bits - PrefixKey::SCOPE_BITS;
        // That there was such a length costs a look-up more, no more.
        self.entries.remove(&(prefix.key.scope, length, first_bits(&prefix.key.address, length))).is_some()
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
