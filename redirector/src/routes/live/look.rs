//! What the routes say, asked in memory: which route a connection has, and where others win over a route.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{PortWord, PrefixEntry, RouteKind, Space as Number, port_index},
    lookup::{self, Tables},
};

use super::{Live, ports::Ports, space::Space};
use crate::routes::{Origin, PortRange, Route, display::match_text};

/// Where another route wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Override {
    /// What both match, as the text of a match.
    pub both: String,
    /// The other's origin.
    pub origin: Origin,
    /// The other's name.
    pub name: String,
}

impl Live {
    /// Whether a new connection is to reach a proxy.
    pub fn is_steered(&self, flow: &Flow) -> bool {
        let word = self.port(flow.family, flow.protocol, flow.destination_port);
        let slot = lookup::route(self, word, flow).and_then(|slot| self.slots.get(slot));
        !flow.never_redirected() && slot.is_some_and(|slot| slot.entry.kind == RouteKind::Proxy as u8)
    }

    /// Where other routes win over this one: each of them once, and no more than [`MOST_OVERRIDES`].
    pub fn overrides(&self, slot: u32) -> Vec<Override> {
        let Some(own) = self.slots.get(slot) else { return Vec::new() };
        let mut overrides =
            Overrides { live: self, slot, seen: BTreeSet::new(), found: Vec::new(), left: MOST_LOOKS };
        for ports in self.ports.iter().filter(|ports| ports.concern(&own.route)) {
            for (range, width) in ports.claims(&own.route) {
                overrides.among(ports, &own.route, range, width);
            }
        }
        overrides.found.sort();
        overrides.found
    }
}

/// How many other routes are named.
pub const MOST_OVERRIDES: usize = 16;
/// How many prefixes of others are looked at for one route.
const MOST_LOOKS: usize = 1000;

struct Overrides<'a> {
    live: &'a Live,
    slot: u32,
    seen: BTreeSet<u32>,
    found: Vec<Override>,
    left: usize,
}

impl Overrides<'_> {
    fn among(&mut self, ports: &Ports, route: &Route, range: PortRange, width: u32) {
        // Ports that others name alone, which are narrower or the same.
        for (port, single) in ports.singles.range(range.first()..=range.last()) {
            self.within(ports, &single.space, route, PortRange::between(*port, *port), width > 1);
        }
        for (part, class) in &ports.classes.parts {
            if part.first() <= range.last() && range.first() <= part.last() {
                let both = PortRange::between(part.first().max(range.first()), part.last().min(range.last()));
                self.within(ports, &class.space, route, both, false);
            }
        }
    }

    /// Within a space. An atom with the same prefixes wins if its ports are narrower, or it stands before.
    fn within(&mut self, ports: &Ports, space: &Space, route: &Route, range: PortRange, narrower: bool) {
        let slot = self.slot;
        for destination in route.destinations_in(ports.family) {
            for (below, atoms) in space.below(&destination) {
                for atom in atoms.iter().filter(|atom| atom.slot != slot) {
                    if self.left == 0 || self.found.len() == MOST_OVERRIDES {
                        return;
                    }
                    self.left -= 1;
                    let longer = below.prefix_len() > destination.prefix_len();
                    let own = route.sources_in(ports.family).find_map(|source| {
                        let both = narrower_of(&source, &atom.source)?;
                        let more_specific = longer || atom.source.prefix_len() > source.prefix_len();
                        let same = below == destination && atom.source == source;
                        let first = same && (narrower || space.is_first(&below, atom));
                        (more_specific || first).then_some(both)
                    });
                    if let (Some(source), true) = (own, self.seen.insert(atom.slot)) {
                        self.push(ports, below, range, source, atom.slot);
                    }
                }
            }
        }
    }

    fn push(&mut self, ports: &Ports, destination: IpNet, range: PortRange, source: IpNet, slot: u32) {
        let Some(other) = self.live.slots.get(slot) else { return };
        let condition = |prefix: IpNet| Vec::from_iter((prefix.prefix_len() > 0).then_some(prefix));
        self.found.push(Override {
            both: match_text(ports.protocol, &condition(destination), &[range], &condition(source)),
            origin: other.origin,
            name: other.route.name.clone(),
        });
    }
}

/// The longer of two prefixes, if it is in the other.
fn narrower_of(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    match (a.contains(b), b.contains(a)) {
        (true, _) => Some(*b),
        (_, true) => Some(*a),
        _ => None,
    }
}

impl Tables for Live {
    fn port(&self, family: Family, protocol: Protocol, port: u16) -> PortWord {
        self.words.get(&port_index(family, protocol, port)).copied().unwrap_or(PortWord::NONE)
    }

    fn prefix(&self, space: Number, destination: &Address) -> Option<PrefixEntry> {
        let longest =
            |space: &Space, family| prefixes(family, destination).find_map(|prefix| space.entry(&prefix));
        if let Some(class) = space.as_class() {
            let mut classes = self
                .ports
                .iter()
                .flat_map(|ports| ports.classes.by_claims.values().map(move |class| (ports.family, class)));
            let (family, class) = classes.find(|(_, other)| other.number == class)?;
            return longest(&class.space, family);
        }
        let plane = &self.ports[(space.0 >> 16) as usize];
        longest(&plane.singles.get(&(space.0 as u16))?.space, plane.family)
    }

    fn source(&self, table: u32, source: &Address) -> Option<PrefixEntry> {
        self.sources.longest(table, source)
    }
}

/// Every prefix of an address, from the longest on.
pub(super) fn prefixes(family: Family, address: &Address) -> impl Iterator<Item = IpNet> {
    let address = *address;
    (0..=family.address_bits()).rev().filter_map(move |length| {
        let prefix = match address.ip(family) {
            std::net::IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new(v4, length).ok()?),
            std::net::IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new(v6, length).ok()?),
        };
        Some(prefix.trunc())
    })
}
