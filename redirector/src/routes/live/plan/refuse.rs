//! Why a change is refused: what is wrong with its routes, what nothing decides, and limits.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use redirector_common::entries::{NEXT_HOPS, PortWord};

use super::Plan;
use crate::routes::{
    PortRange, Refusal, Tie,
    live::{
        Change,
        space::{Space, tie},
    },
};

impl Plan<'_> {
    /// What can be told of the routes before any is taken.
    pub(super) fn check(&self, changes: &[Change]) -> Result<(), Vec<Refusal>> {
        let mut refusals = Vec::new();
        let (mut come, mut go) = (0_usize, 0_usize);
        for Change { origin, remove, add } in changes {
            let origin = *origin;
            let mut names = HashSet::with_capacity(add.len());
            for route in add {
                let name = || route.name.clone();
                if let Err(error) = route.check() {
                    refusals.push(Refusal::Route { origin, name: name(), error });
                }
                if !names.insert(&route.name) {
                    refusals.push(Refusal::SameName { origin, name: name() });
                }
                come += usize::from(self.live.slots.named(origin, &route.name).is_none());
            }
            go += remove.iter().filter(|name| self.live.slots.named(origin, name).is_some()).count();
        }
        let limit = self.live.limits.routes.min(PortWord::NUMBERS);
        refusals.extend(Refusal::limit("routes", (self.live.slots.len() + come).saturating_sub(go), limit));
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    pub(super) fn over_limits(&self) -> Vec<Refusal> {
        let (live, limits) = (&self.live, &self.live.limits);
        let mut refusals = Vec::from_iter(Refusal::limit("proxies", live.proxies.len(), limits.proxies));
        refusals.extend(Refusal::limit("next hops", live.next_hops.len(), NEXT_HOPS));
        refusals.extend(Refusal::limit("prefixes", self.prefixes, limits.prefixes));
        refusals
    }

    /// Routes of one origin between which nothing decides, wherever the change concerns it.
    pub(super) fn ties(&self) -> Vec<Tie> {
        let mut ties: HashMap<(u32, u32), Tie> = HashMap::new();
        let mut look = |space: &Space, destination: &IpNet, protocol, ports: PortRange| {
            for [a, b] in space.ties(destination) {
                let said = || tie(self, protocol, ports, *destination, [a, b]);
                ties.entry((a.slot, b.slot)).or_insert_with(said);
            }
        };
        for ((index, port), changed) in &self.touched {
            let ports = &self.live.ports[*index];
            let Some(single) = ports.singles.get(port) else { continue };
            for destination in changed {
                look(&single.space, destination, ports.protocol, PortRange::between(*port, *port));
            }
        }
        for (ports, classes) in self.live.ports.iter().zip(&self.classes) {
            let Some(classes) = classes else { continue };
            for (range, class) in &classes.parts {
                for (destination, _) in class.space.entries() {
                    look(&class.space, &destination, ports.protocol, *range);
                }
            }
        }
        let mut ties: Vec<_> = ties.into_iter().collect();
        ties.sort_by_key(|(slots, _)| *slots);
        ties.into_iter().map(|(_, tie)| tie).collect()
    }
}
