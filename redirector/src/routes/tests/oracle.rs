//! Which route wins, by brute force: every atom of every route, and the best rank.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;
use redirector_common::Protocol;

use super::{Origin, Packet, Route, RouteSets};
use crate::routes::Target;

struct Atom {
    origin: Origin,
    slot: u32,
    protocol: Protocol,
    destination: IpNet,
    source: IpNet,
    first: u16,
    last: u16,
    /// Left out of the ports.
    own_port: Option<u16>,
}

pub struct Oracle {
    atoms: Vec<Atom>,
}

impl Oracle {
    pub fn new(sets: &RouteSets) -> Self {
        let routes = sets.iter().flat_map(|(origin, routes)| routes.iter().map(|route| (*origin, route)));
        let atoms = routes.zip(0..).flat_map(|((origin, route), slot)| atoms(origin, slot, route));
        Self { atoms: atoms.collect() }
    }

    pub fn route(&self, packet: Packet) -> Option<u32> {
        let matching = self.atoms.iter().filter(|atom| atom.matches(packet));
        matching.max_by_key(|atom| (atom.specific(), Reverse(atom.origin))).map(|atom| atom.slot)
    }

    /// Every two routes of one origin that match some packet by equally specific atoms: both slots, the lower
    /// one first.
    pub fn ties(&self) -> impl Iterator<Item = (u32, u32)> {
        self.atoms.iter().flat_map(|a| {
            let tied = self.atoms.iter().filter(move |b| a.slot < b.slot && a.ties_with(b));
            tied.map(|b| (a.slot, b.slot))
        })
    }
}

impl Atom {
    fn covers(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port) && self.own_port != Some(port)
    }

    fn matches(&self, packet: Packet) -> bool {
        self.protocol == packet.protocol
            && self.covers(packet.port)
            && self.destination.contains(&packet.destination)
            && self.source.contains(&packet.source)
    }

    fn specific(&self) -> (u8, u8, Reverse<u16>) {
        (self.destination.prefix_len(), self.source.prefix_len(), Reverse(self.last - self.first))
    }

    fn ties_with(&self, other: &Self) -> bool {
        self.origin == other.origin
            && self.protocol == other.protocol
            && self.destination == other.destination
            && self.source == other.source
            && self.specific() == other.specific()
            && (self.first..=self.last).any(|port| self.covers(port) && other.covers(port))
    }
}

fn atoms(origin: Origin, slot: u32, route: &Route) -> Vec<Atom> {
    let any = || ["0.0.0.0/0", "::/0"].map(|any| any.parse::<IpNet>().expect("a prefix")).to_vec();
    let or_any = |prefixes: &[IpNet]| if prefixes.is_empty() { any() } else { prefixes.to_vec() };
    let mut atoms = Vec::new();
    for destination in or_any(&route.destinations) {
        let own_port = match &route.target {
            Target::Proxy(proxy) => {
                let reachable = match destination.addr() {
                    IpAddr::V4(_) => proxy.v4.is_some(),
                    IpAddr::V6(_) => proxy.v6.is_some(),
                };
                if !reachable {
                    continue;
                }
                Some(proxy.port)
            }
            // A router of IPv4 is none of IPv6.
            Target::Interface(hop)
                if !destination.addr().is_ipv4() && hop.via.is_some_and(|via| via.is_ipv4()) =>
            {
                continue;
            }
            Target::Interface(_) | Target::Pass | Target::Drop => None,
        };
        for source in or_any(&route.sources) {
            if source.addr().is_ipv4() != destination.addr().is_ipv4() {
                continue;
            }
            for range in &route.ports {
                let (first, last, protocol) = (range.first(), range.last(), route.protocol);
                atoms.push(Atom { origin, slot, protocol, destination, source, first, last, own_port });
            }
        }
    }
    atoms
}
