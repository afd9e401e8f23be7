//! A space whose atoms come and go: the nodes that a change concerns are decided anew, and no others.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use ipnet::IpNet;
use redirector_common::{Protocol, entries::PrefixEntry};

use super::{
    Plan,
    sources::{SourceTables, Sources},
};
use crate::routes::{Origin, PortRange, Refusal, Tie, display::match_text, nodes::inherit, refusal::Budget};

/// What a route says of one destination and one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Atom {
    pub source: IpNet,
    /// Ports in the range: the fewer, the higher the rank.
    pub width: u32,
    pub origin: Origin,
    pub slot: u32,
}

/// A destination prefix.
#[derive(Debug, Default)]
struct Node {
    /// In ascending order: in those of one source the one that wins first. None: it is to go.
    atoms: Vec<Atom>,
    /// What stands in the map for it, if it stands there.
    entry: Option<PrefixEntry>,
}

/// The destination prefixes of a single port or of a range class, in ascending order: so a prefix stands before those that
/// it contains.
#[derive(Debug, Default)]
pub(super) struct Space {
    nodes: BTreeMap<IpNet, Node>,
    /// How many nodes have each length of prefix.
    lengths: BTreeMap<u8, usize>,
    /// Atoms of routes to a proxy.
    pub steering: u32,
    /// Atoms of routes to an interface.
    pub forwarding: u32,
}

/// What becomes of a node: nothing, if it is to go.
pub(super) type Decisions = BTreeMap<IpNet, Option<PrefixEntry>>;

impl Space {
    pub fn add(&mut self, destination: IpNet, atom: Atom) {
        let atoms = match self.nodes.entry(destination) {
            Entry::Occupied(node) => &mut node.into_mut().atoms,
            Entry::Vacant(place) => {
                *self.lengths.entry(destination.prefix_len()).or_default() += 1;
                &mut place.insert(Node::default()).atoms
            }
        };
        let at = atoms.partition_point(|other| *other < atom);
        // Nearly every destination has one or two, and a vector that grows by itself makes room for four.
        if atoms.len() < 4 {
            atoms.reserve_exact(1);
        }
        atoms.insert(at, atom);
    }

    pub fn remove(&mut self, destination: IpNet, atom: &Atom) {
        let Some(node) = self.nodes.get_mut(&destination) else { return };
        if let Ok(at) = node.atoms.binary_search(atom) {
            node.atoms.remove(at);
        }
        if node.atoms.is_empty() && node.entry.is_none() {
            self.forget(&destination);
        }
    }

    fn forget(&mut self, destination: &IpNet) {
        self.nodes.remove(destination);
        let length = destination.prefix_len();
        if let Some(count) = self.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    /// Whether no route has a claim on it.
    pub fn is_empty(&self) -> bool {
        self.nodes.values().all(|node| node.atoms.is_empty())
    }

    /// The nodes of a destination and of what is in it, with their atoms.
    pub fn below<'a>(&'a self, destination: &'a IpNet) -> impl Iterator<Item = (IpNet, &'a [Atom])> + 'a {
        let nodes = self.nodes.range(*destination..).take_while(|(below, _)| destination.contains(*below));
        nodes.map(|(below, node)| (*below, &node.atoms[..]))
    }

    /// The atoms of a destination.
    pub fn atoms(&self, destination: &IpNet) -> &[Atom] {
        self.nodes.get(destination).map(|node| &node.atoms[..]).unwrap_or_default()
    }

    /// The slots of the routes that have a claim on it, some of them more than once.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.nodes.values().flat_map(|node| &node.atoms).map(|atom| atom.slot)
    }

    /// Whether an atom wins at its destination for its source.
    pub fn is_first(&self, destination: &IpNet, atom: &Atom) -> bool {
        self.atoms(destination).iter().find(|other| other.source == atom.source) == Some(atom)
    }

    /// What stands in the map for a destination.
    pub fn entry(&self, destination: &IpNet) -> Option<PrefixEntry> {
        self.nodes.get(destination)?.entry
    }

    /// Nodes that stand in the map.
    pub fn entries(&self) -> impl Iterator<Item = (IpNet, PrefixEntry)> {
        self.nodes.iter().filter_map(|(destination, node)| Some((*destination, node.entry?)))
    }

    /// Pairs of routes of one origin between which nothing decides at this destination.
    pub fn ties<'a>(&'a self, destination: &IpNet) -> impl Iterator<Item = [Atom; 2]> + 'a {
        self.atoms(destination).windows(2).filter_map(|pair| {
            let [a, b] = [pair[0], pair[1]];
            (a.slot != b.slot && Atom { slot: b.slot, ..a } == b).then_some([a, b])
        })
    }

    /// Decides the nodes whose atoms changed and those below them.
    pub fn decide(
        &self,
        changed: &BTreeSet<IpNet>,
        tables: &mut SourceTables,
        budget: &mut Budget,
    ) -> Result<Decisions, Refusal> {
        let mut decisions = Decisions::new();
        let mut done: Option<IpNet> = None;
        for top in changed {
            // What is below one that was decided was decided with it.
            if done.is_some_and(|done| done.contains(top)) {
                continue;
            }
            done = Some(*top);
            self.decide_below(top, changed, tables, budget, &mut decisions)?;
        }
        Ok(decisions)
    }

    fn decide_below(
        &self,
        top: &IpNet,
        changed: &BTreeSet<IpNet>,
        tables: &mut SourceTables,
        budget: &mut Budget,
        decisions: &mut Decisions,
    ) -> Result<(), Refusal> {
        // The nodes that contain this one, from the shortest on: what they decide, and whether that is new.
        let mut around: Vec<(IpNet, Sources, bool)> = Vec::new();
        for ancestor in self.ancestors(top) {
            let sources = self.sources(&ancestor, around.last().map(|(_, sources, _)| sources));
            around.push((ancestor, sources, false));
        }
        // The end of what a node that is going contained, whose nodes are decided anew.
        let mut uncovered: Option<IpNet> = None;
        for (destination, node) in self.nodes.range(*top..).take_while(|(below, _)| top.contains(*below)) {
            while around.last().is_some_and(|(shorter, ..)| !shorter.contains(destination)) {
                around.pop();
            }
            if uncovered.is_some_and(|gone| !gone.contains(destination)) {
                uncovered = None;
            }
            if node.atoms.is_empty() {
                decisions.insert(*destination, None);
                uncovered.get_or_insert(*destination);
                continue;
            }
            let is_new = around.last().is_some_and(|(_, _, new)| *new) || uncovered.is_some();
            let sources = self.sources(destination, around.last().map(|(_, sources, _)| sources));
            budget.spend(sources.len())?;
            let mut differs = false;
            if is_new || changed.contains(destination) {
                let entry = match sources[..] {
                    [(any, entry)] if any.prefix_len() == 0 => entry,
                    _ => PrefixEntry::table(tables.number(&sources)?),
                };
                differs = node.entry != Some(entry);
                if differs {
                    decisions.insert(*destination, Some(entry));
                }
            }
            around.push((*destination, sources, differs));
        }
        Ok(())
    }

    /// The nodes that contain a prefix, from the shortest on.
    fn ancestors(&self, destination: &IpNet) -> Vec<IpNet> {
        let shorter = self.lengths.range(..destination.prefix_len()).filter_map(|(length, _)| {
            let shorter = IpNet::new(destination.addr(), *length).ok()?.trunc();
            self.nodes.get(&shorter).is_some_and(|node| !node.atoms.is_empty()).then_some(shorter)
        });
        shorter.collect()
    }

    /// What the sources of a node get, given what those of the nearest shorter one do.
    fn sources(&self, destination: &IpNet, shorter: Option<&Sources>) -> Sources {
        let atoms = self.atoms(destination);
        let mut sources = Sources::with_capacity(atoms.len());
        for atom in atoms {
            if sources.last().is_none_or(|(source, _)| *source != atom.source) {
                let (to, from) = (destination.prefix_len(), atom.source.prefix_len());
                sources.push((atom.source, PrefixEntry::route(atom.slot, to, from)));
            }
        }
        if let Some(shorter) = shorter {
            inherit(&mut sources, shorter);
        }
        sources
    }

    /// The route for every packet, where no address decides, if these decisions are carried out.
    pub fn direct(&self, decisions: &Decisions) -> Option<u32> {
        let mut live = self.nodes.iter().filter(|(_, node)| !node.atoms.is_empty());
        let (destination, node) = live.next().filter(|(destination, _)| destination.prefix_len() == 0)?;
        let entry = decisions.get(destination).copied().flatten().or(node.entry)?;
        (live.next().is_none() && !entry.is_table()).then_some(entry.number())
    }

    /// All nodes as they are if these decisions are carried out.
    pub fn after<'a>(&'a self, decisions: &'a Decisions) -> impl Iterator<Item = (IpNet, PrefixEntry)> + 'a {
        self.nodes.iter().filter_map(|(destination, node)| {
            let entry = decisions.get(destination).copied().unwrap_or(node.entry);
            Some((*destination, entry?))
        })
    }

    /// Carries decisions out. Returns what stood there before.
    pub fn set(&mut self, destination: &IpNet, entry: Option<PrefixEntry>) -> Option<PrefixEntry> {
        let node = self.nodes.get_mut(destination)?;
        let before = std::mem::replace(&mut node.entry, entry);
        if node.atoms.is_empty() && entry.is_none() {
            self.forget(destination);
        }
        before
    }
}

/// What is said of two atoms that tie.
pub(super) fn tie(
    plan: &Plan<'_>,
    protocol: Protocol,
    ports: PortRange,
    destination: IpNet,
    [a, b]: [Atom; 2],
) -> Tie {
    let condition = |prefix: IpNet| Vec::from_iter((prefix.prefix_len() > 0).then_some(prefix));
    Tie {
        origin: a.origin,
        names: [a, b].map(|atom| plan.name(atom.slot)),
        both: match_text(protocol, &condition(destination), &[ports], &condition(a.source)),
    }
}
