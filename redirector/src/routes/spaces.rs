//! Step 1: cuts the ports of one family and protocol into spaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{PortRange, Refusal, refusal::Budget};

/// A route's hold on a space by one of its ranges, or by several of the same width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Claim {
    /// Slot of the route.
    pub slot: u32,
    /// Ports in the range: the fewer, the higher the rank.
    pub width: u32,
}

/// The spaces of one family and protocol.
#[derive(Default)]
pub(super) struct Spaces {
    /// The spaces of the ports that some route names alone, by port.
    pub singles: BTreeMap<u16, Claimed>,
    /// The range classes.
    pub classes: Vec<Claimed>,
    /// Ports in a class, in ascending order, and the index of the class.
    parts: Vec<(PortRange, usize)>,
}

/// A space and all that has a claim on it.
pub(super) struct Claimed {
    /// Ports of the space: the single one, or the first of a class.
    pub ports: PortRange,
    pub claims: Vec<Claim>,
}

impl Spaces {
    pub fn new(
        spans: impl Iterator<Item = (PortRange, Claim)>,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let mut spaces = Self::default();
        let mut ranges = Vec::new();
        for (ports, claim) in spans {
            budget.spend(1)?;
            if claim.width > 1 {
                ranges.push((ports, claim));
                continue;
            }
            let single = spaces.singles.entry(ports.first);
            single.or_insert_with(|| Claimed { ports, claims: Vec::new() }).claims.push(claim);
        }
        spaces.classify(&ranges, budget)?;
        Ok(spaces)
    }

    /// Ports on which the same ranges have a claim make one class, wherever they are. So `1-65535` is one
    /// class, however many single ports lie in it.
    fn classify(&mut self, ranges: &[(PortRange, Claim)], budget: &mut Budget) -> Result<(), Refusal> {
        // How many more ranges of each claim cover this port than the one before it.
        let mut borders: BTreeMap<u32, Vec<(Claim, i32)>> = BTreeMap::new();
        for &(ports, claim) in ranges {
            borders.entry(ports.first.into()).or_default().push((claim, 1));
            borders.entry(u32::from(ports.last) + 1).or_default().push((claim, -1));
        }
        let mut covering: BTreeMap<Claim, i32> = BTreeMap::new();
        let mut indices: HashMap<Vec<Claim>, usize> = HashMap::new();
        let mut borders = borders.into_iter().peekable();
        while let Some((first, changes)) = borders.next() {
            for (claim, change) in changes {
                *covering.entry(claim).or_default() += change;
            }
            covering.retain(|_, ranges| *ranges > 0);
            // Behind the last border nothing is covered.
            let Some((next, _)) = borders.peek().filter(|_| !covering.is_empty()) else { continue };
            let ports = PortRange { first: first as u16, last: (next - 1) as u16 };
            budget.spend(covering.len())?;
            let index = *indices.entry(covering.keys().copied().collect()).or_insert_with_key(|claims| {
                self.classes.push(Claimed { ports, claims: claims.clone() });
                self.classes.len() - 1
            });
            self.parts.push((ports, index));
        }
        Ok(())
    }

    /// Every port that a route names.
    pub fn ports(&self) -> BTreeSet<u16> {
        let ranges = self.parts.iter().flat_map(|(ports, _)| ports.first..=ports.last);
        ranges.chain(self.singles.keys().copied()).collect()
    }

    /// Index of the class of a port, if ranges cover it.
    pub fn class_of(&self, port: u16) -> Option<usize> {
        let up_to = self.parts.partition_point(|(ports, _)| ports.first <= port);
        let (ports, index) = self.parts[..up_to].last()?;
        (port <= ports.last).then_some(*index)
    }
}
