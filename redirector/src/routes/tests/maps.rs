//! The maps in memory, and the look-up of the programs over them.

use std::{collections::HashMap, net::IpAddr};

use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{PortWord, PrefixEntry, PrefixKey, Space, port_index},
    lookup::{self, Tables},
};

use super::{Compiled, Packet};
use crate::routes::Prefix;

pub struct Maps {
    ports: HashMap<u32, PortWord>,
    prefixes: HashMap<u32, Vec<Prefix>>,
    sources: HashMap<u32, Vec<Prefix>>,
}

impl Maps {
    pub fn new(compiled: &Compiled) -> Self {
        let by_scope = |prefixes: &[Prefix]| {
            let mut scopes: HashMap<u32, Vec<Prefix>> = HashMap::new();
            for prefix in prefixes {
                scopes.entry(prefix.key.scope).or_default().push(*prefix);
            }
            scopes
        };
        Self {
            ports: compiled.ports.iter().copied().collect(),
            prefixes: by_scope(&compiled.prefixes),
            sources: by_scope(&compiled.sources),
        }
    }

    pub fn word(&self, packet: Packet) -> PortWord {
        let flow = flow(packet);
        self.port(flow.family, flow.protocol, flow.destination_port)
    }

    pub fn route(&self, packet: Packet) -> Option<u32> {
        lookup::route(self, self.word(packet), &flow(packet))
    }
}

impl Tables for Maps {
    fn port(&self, family: Family, protocol: Protocol, port: u16) -> PortWord {
        self.ports.get(&port_index(family, protocol, port)).copied().unwrap_or(PortWord::NONE)
    }

    fn prefix(&self, space: Space, destination: &Address) -> Option<PrefixEntry> {
        longest(self.prefixes.get(&space.0)?, destination)
    }

    fn source(&self, table: u32, source: &Address) -> Option<PrefixEntry> {
        longest(self.sources.get(&table)?, source)
    }
}

fn flow(packet: Packet) -> Flow {
    let (family, source) = wire_order(packet.source);
    let (of_destination, destination) = wire_order(packet.destination);
    assert_eq!(family, of_destination);
    let (protocol, destination_port) = (packet.protocol, packet.port);
    Flow { family, protocol, source, destination, source_port: 40_000, destination_port }
}

fn wire_order(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(v4) => (Family::V4, Address::v4(v4.octets())),
        IpAddr::V6(v6) => (Family::V6, Address::v6(v6.octets())),
    }
}

/// What an LPM trie finds within a scope.
fn longest(prefixes: &[Prefix], address: &Address) -> Option<PrefixEntry> {
    let matching = prefixes.iter().filter(|prefix| {
        let length = prefix.bits - PrefixKey::SCOPE_BITS;
        (bits(&prefix.key.address) ^ bits(address)).leading_zeros() >= length
    });
    matching.max_by_key(|prefix| prefix.bits).map(|prefix| prefix.entry)
}

fn bits(address: &Address) -> u128 {
    address.words().iter().fold(0, |bits, word| bits << 32 | u128::from(u32::from_be(*word)))
}
