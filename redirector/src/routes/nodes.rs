//! Step 2: decides each destination prefix of a space.
//!
//! Each of them, a *node*, gets everything that can be decided there: what its own atoms say, and what the
//! shorter prefixes around it say of other sources.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use redirector_common::{Family, Protocol, entries::PrefixEntry};

use super::{
    Limits, Origin, Prefix, Refusal, Route, Tie, display::match_text, refusal::Budget, spaces::Claimed,
};

/// A destination prefix of a space.
pub(super) struct Node {
    pub destination: IpNet,
    pub entry: PrefixEntry,
}

/// What some sources get, in ascending order: so a prefix stands before those that it contains.
type Sources = Vec<(IpNet, PrefixEntry)>;

/// Decides nodes, and keeps what they have in common.
pub(super) struct Nodes<'a> {
    routes: &'a [(Origin, &'a Route)],
    pub budget: Budget,
    pub tables: SourceTables,
    /// By the slots of both routes.
    pub ties: BTreeMap<(u32, u32), Tie>,
}

/// An atom within a space. Atoms in ascending order: all of a destination, shorter prefixes before those that
/// they contain; in these all of a source; and in these the one that wins first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Atom {
    destination: IpNet,
    source: IpNet,
    width: u32,
    origin: Origin,
    slot: u32,
}

impl<'a> Nodes<'a> {
    pub fn new(routes: &'a [(Origin, &'a Route)], limits: &Limits) -> Self {
        let tables = SourceTables::new(limits.sources);
        Self { routes, budget: Budget::default(), tables, ties: BTreeMap::new() }
    }

    /// The nodes of a space.
    pub fn decide(
        &mut self,
        family: Family,
        protocol: Protocol,
        space: &Claimed,
    ) -> Result<Vec<Node>, Refusal> {
        let mut atoms = self.atoms(family, space)?;
        atoms.sort_unstable();
        self.find_ties(&atoms, protocol, space);
        atoms.dedup_by_key(|atom| (atom.destination, atom.source));

        let mut nodes = Vec::new();
        // The nodes that contain this one, from the shortest on, and what they decide.
        let mut around: Vec<(IpNet, Sources)> = Vec::new();
        for own in atoms.chunk_by(|a, b| a.destination == b.destination) {
            let destination = own[0].destination;
            while around.last().is_some_and(|(shorter, _)| !shorter.contains(&destination)) {
                around.pop();
            }
            let mut sources: Sources = own.iter().map(|atom| (atom.source, atom.entry())).collect();
            if let Some((_, shorter)) = around.last() {
                inherit(&mut sources, shorter);
            }
            self.budget.spend(sources.len())?;
            let entry = match sources[..] {
                [(any, entry)] if any.prefix_len() == 0 => entry,
                _ => PrefixEntry::table(self.tables.number(&sources)?),
            };
            nodes.push(Node { destination, entry });
            around.push((destination, sources));
        }
        Ok(nodes)
    }

    fn atoms(&mut self, family: Family, space: &Claimed) -> Result<Vec<Atom>, Refusal> {
        let mut atoms = Vec::new();
        for claim in &space.claims {
            let (origin, route) = self.routes[claim.slot as usize];
            let (destinations, sources) = (route.destinations_in(family), route.sources_in(family));
            self.budget.spend(destinations.clone().count() * sources.clone().count())?;
            atoms.extend(destinations.flat_map(|destination| {
                let (width, slot) = (claim.width, claim.slot);
                sources.clone().map(move |source| Atom { destination, source, width, origin, slot })
            }));
        }
        Ok(atoms)
    }

    fn find_ties(&mut self, atoms: &[Atom], protocol: Protocol, space: &Claimed) {
        for pair in atoms.windows(2) {
            let [a, b] = pair else { continue };
            if a.slot == b.slot || (Atom { slot: b.slot, ..*a }) != *b {
                continue;
            }
            self.ties.entry((a.slot, b.slot)).or_insert_with(|| {
                let condition = |prefix: IpNet| Vec::from_iter((prefix.prefix_len() > 0).then_some(prefix));
                let (destination, source) = (condition(a.destination), condition(a.source));
                Tie {
                    origin: a.origin,
                    names: [a, b].map(|atom| self.routes[atom.slot as usize].1.name.clone()),
                    both: match_text(protocol, &destination, &[space.ports], &source),
                }
            });
        }
    }
}

impl Atom {
    fn entry(&self) -> PrefixEntry {
        PrefixEntry::route(self.slot, self.destination.prefix_len(), self.source.prefix_len())
    }
}

/// Adds what a shorter node says of sources to what a node says itself, less every source prefix that one of
/// the node's own contains: being the longer one it would be found, but the longer destination goes first.
pub(super) fn inherit(own: &mut Sources, shorter: &Sources) {
    // The own prefixes that no other contains do not overlap: of them only the last one that is not behind a
    // prefix can contain it.
    let mut outer: Vec<IpNet> = Vec::new();
    for (source, _) in own.iter() {
        if !outer.last().is_some_and(|outer| outer.contains(source)) {
            outer.push(*source);
        }
    }
    if outer[0].prefix_len() == 0 {
        return; // Any source: contains everything.
    }
    own.extend(shorter.iter().filter(|(source, _)| {
        let up_to = outer.partition_point(|outer| outer <= source);
        up_to == 0 || !outer[up_to - 1].contains(source)
    }));
    own.sort_unstable_by_key(|(source, _)| *source);
}

/// The tables in `SOURCES`. Equal ones are shared.
pub(super) struct SourceTables {
    pub entries: Vec<Prefix>,
    numbers: HashMap<Sources, u32>,
    limit: u32,
}

impl SourceTables {
    fn new(limit: u32) -> Self {
        Self { entries: Vec::new(), numbers: HashMap::new(), limit }
    }

    /// The number of the table with these sources.
    fn number(&mut self, sources: &Sources) -> Result<u32, Refusal> {
        if let Some(number) = self.numbers.get(sources) {
            return Ok(*number);
        }
        // Refused before they are made: tables can be many times what the routes name.
        if let Some(refusal) = Refusal::limit("sources", self.entries.len() + sources.len(), self.limit) {
            return Err(refusal);
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(sources.clone(), number);
        self.entries.extend(sources.iter().map(|(source, entry)| Prefix::new(number, source, *entry)));
        Ok(number)
    }
}
