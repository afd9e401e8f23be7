//! The routes that name a port, and what of them has a connection's addresses: for whoever asks why a route won.

use std::{cmp::Reverse, collections::BTreeSet};

use ipnet::IpNet;
use redirector_common::{Family, Flow, Protocol};

use super::{
    Live,
    look::prefixes,
    ports::Ports,
    space::{Atom, Space},
};
use crate::routes::Origin;

/// One destination and one source of a route that names a connection's port and has its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The route's slot.
    pub slot: u32,
    /// Where the route comes from.
    pub origin: Origin,
    /// The prefix that has the connection's destination.
    pub destination: IpNet,
    /// Sources.
    pub source: IpNet,
    /// Ports in the range that has the connection's.
    pub width: u32,
    /// Whether the connection's source is one of these.
    pub has_source: bool,
}

impl Live {
    /// The slots of the routes that name a port.
    pub fn naming(&self, family: Family, protocol: Protocol, port: u16) -> BTreeSet<u32> {
        let ports = self.plane(family, protocol);
        spaces(ports, port).flat_map(Space::slots).collect()
    }

    /// Everything that has the connection's port and destination, from the highest rank to the lowest.
    pub fn matches(&self, flow: &Flow) -> Vec<Match> {
        let ports = self.plane(flow.family, flow.protocol);
        let source = flow.source.ip(flow.family);
        let mut matches = Vec::new();
        for space in spaces(ports, flow.destination_port) {
            for destination in prefixes(flow.family, &flow.destination) {
                let atoms = space.atoms(&destination).iter();
                matches.extend(atoms.map(|&Atom { source: sources, width, origin, slot }| Match {
                    slot,
                    origin,
                    destination,
                    source: sources,
                    width,
                    has_source: sources.contains(&source),
                }));
            }
        }
        matches.sort_by_key(|found| {
            let lengths = (found.destination.prefix_len(), found.source.prefix_len());
            (Reverse(lengths), found.width, found.origin, found.slot)
        });
        matches
    }

    fn plane(&self, family: Family, protocol: Protocol) -> &Ports {
        &self.ports[(redirector_common::entries::port_index(family, protocol, 0) >> 16) as usize]
    }
}

/// The spaces that a packet to a port is looked up in.
fn spaces(ports: &Ports, port: u16) -> impl Iterator<Item = &Space> {
    let single = ports.singles.get(&port).map(|single| &single.space);
    single.into_iter().chain(ports.classes.of(port).map(|class| &class.space))
}
