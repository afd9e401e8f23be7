//! The ports of one family and protocol: the spaces of single ports, and the range classes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use ipnet::IpNet;
use redirector_common::{
    Family, Protocol,
    entries::{PortWord, Space as Number, port_index},
};

use super::space::{Atom, Decisions, Space};
use crate::routes::{PortRange, Route, Target, refusal::Budget, spaces::Claim};

/// The ports of one family and protocol.
#[derive(Debug)]
pub(super) struct Ports {
    pub family: Family,
    pub protocol: Protocol,
    pub singles: BTreeMap<u16, Single>,
    /// Ranges of more than one port; each as often as a route has it.
    pub ranges: BTreeMap<(PortRange, Claim), u32>,
    pub classes: Classes,
}

/// A port that some route names alone.
#[derive(Debug, Default)]
pub(super) struct Single {
    pub space: Space,
    /// Whether its prefixes stand in the map: not where the word says it all.
    pub written: bool,
}

/// Ports on which the same ranges have a claim.
#[derive(Debug)]
pub(super) struct Class {
    pub number: u32,
    pub space: Space,
}

/// The range classes, which are made anew when a range comes or goes, but for those that stay as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// Ports in a class, in ascending order.
    pub parts: Vec<(PortRange, Rc<Class>)>,
    pub by_claims: HashMap<Vec<Claim>, Rc<Class>>,
}

impl Classes {
    /// The class of a port, if ranges cover it.
    pub fn of(&self, port: u16) -> Option<&Rc<Class>> {
        let up_to = self.parts.partition_point(|(ports, _)| ports.first() <= port);
        let (ports, class) = self.parts[..up_to].last()?;
        (port <= ports.last()).then_some(class)
    }
}

/// A class that a change needs: its ports are there as often as it has parts.
pub(super) struct Part {
    pub ports: PortRange,
    pub claims: Vec<Claim>,
}

impl Ports {
    pub fn new(family: Family, protocol: Protocol) -> Self {
        let (singles, ranges) = (BTreeMap::new(), BTreeMap::new());
        Self { family, protocol, singles, ranges, classes: Classes::default() }
    }

    /// Forgets a single port that no route names any more.
    pub fn forget_empty(&mut self, port: u16) {
        if self.singles.get(&port).is_some_and(|single| single.space.is_empty()) {
            self.singles.remove(&port);
        }
    }

    /// Whether packets here can match a route.
    pub fn concern(&self, route: &Route) -> bool {
        route.protocol == self.protocol && route.is_in(self.family)
    }

    /// The ports and ranges that a route claims here, with the width by which it does.
    pub fn claims<'a>(&self, route: &'a Route) -> impl Iterator<Item = (PortRange, u32)> + 'a {
        // The width as written decides the rank, also where the proxy's own port is left out.
        let claims = route.ports.iter();
        claims.flat_map(|range| range.without(route.own_port()).map(move |ports| (ports, range.width())))
    }

    /// What a route says within a space.
    pub fn atoms(&self, route: &Route, width: u32, atom: impl Fn(IpNet, u32) -> Atom) -> Vec<(IpNet, Atom)> {
        let sources: Vec<IpNet> = route.sources_in(self.family).collect();
        let destinations = route.destinations_in(self.family);
        destinations
            .flat_map(|destination| sources.iter().map(move |source| (destination, *source)))
            .map(|(destination, source)| (destination, atom(source, width)))
            .collect()
    }

    /// Ports on which the same ranges have a claim, as the ranges are now, in ascending order.
    pub fn parts(&self, budget: &mut Budget) -> Result<Vec<Part>, crate::routes::Refusal> {
        // How many more ranges of each claim cover this port than the one before it.
        let mut borders: BTreeMap<u32, Vec<(Claim, i32)>> = BTreeMap::new();
        for (ports, claim) in self.ranges.keys() {
            borders.entry(ports.first().into()).or_default().push((*claim, 1));
            borders.entry(u32::from(ports.last()) + 1).or_default().push((*claim, -1));
        }
        let mut covering: BTreeMap<Claim, i32> = BTreeMap::new();
        let mut parts = Vec::new();
        let mut borders = borders.into_iter().peekable();
        while let Some((first, changes)) = borders.next() {
            for (claim, change) in changes {
                *covering.entry(claim).or_default() += change;
            }
            covering.retain(|_, ranges| *ranges > 0);
            // Behind the last border nothing is covered.
            let Some((next, _)) = borders.peek().filter(|_| !covering.is_empty()) else { continue };
            budget.spend(covering.len())?;
            let claims = covering.keys().copied().collect();
            parts.push(Part { ports: PortRange::between(first as u16, (next - 1) as u16), claims });
        }
        Ok(parts)
    }

    /// Index of a port's word.
    pub fn index(&self, port: u16) -> u32 {
        port_index(self.family, self.protocol, port)
    }

    /// The number of a single port's space.
    pub fn number(&self, port: u16) -> Number {
        Number::port(self.family, self.protocol, port)
    }

    /// The word of a port with these classes, and whether the prefixes of its single port are needed for it.
    pub fn word(&self, port: u16, decisions: &Decisions, classes: &Classes) -> (PortWord, bool) {
        let single = self.singles.get(&port).map(|single| &single.space).filter(|space| !space.is_empty());
        let class = classes.of(port);
        let direct = |space: &Space, decisions: &Decisions| space.direct(decisions);
        let none = Decisions::new();
        let route = match (single, class) {
            (None, None) => return (PortWord::NONE, false),
            (Some(only), None) => direct(only, decisions),
            (None, Some(only)) => direct(&only.space, &none),
            // The single port is the narrower range.
            (Some(single), Some(class)) => {
                direct(single, decisions).filter(|_| direct(&class.space, &none).is_some())
            }
        };
        let spaces = || single.into_iter().chain(class.map(|class| &class.space));
        let word = match route {
            Some(route) => PortWord::direct(route),
            None => PortWord::spaces(single.is_some(), class.map(|class| class.number)),
        };
        let word = if spaces().any(|space| space.steering > 0) { word.with_steered() } else { word };
        let word = if spaces().any(|space| space.forwarding > 0) { word.with_forwarded() } else { word };
        (word, route.is_none() && single.is_some())
    }
}

/// Adds what a route says of one destination to a space, or takes it away.
pub(super) fn edit(space: &mut Space, route: &Route, atoms: &[(IpNet, Atom)], add: bool) -> BTreeSet<IpNet> {
    let count = match route.target {
        Target::Proxy(_) => Some(&mut space.steering),
        Target::Interface(_) => Some(&mut space.forwarding),
        Target::Pass | Target::Drop => None,
    };
    if let Some(count) = count {
        let atoms = atoms.len() as u32;
        *count = if add { *count + atoms } else { count.saturating_sub(atoms) };
    }
    for (destination, atom) in atoms {
        match add {
            true => space.add(*destination, *atom),
            false => space.remove(*destination, atom),
        }
    }
    atoms.iter().map(|(destination, _)| *destination).collect()
}
