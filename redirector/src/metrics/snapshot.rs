//! What is true at the moment of a scrape.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use anyhow::Result;
use redirector_common::{
    Verdict,
    entries::{EventLosses, RouteKind},
};

use super::{
    process::Process,
    record::{Metrics, Source},
};
use crate::datapath::{Counters, Fill, FoundMaps, FoundRoute, ListenerAddress, Listening};

/// All that is written at a scrape.
#[derive(Debug)]
pub struct Snapshot {
    pub recorded: Arc<Metrics>,
    /// Nothing before the programs are loaded.
    pub kernel: Option<Kernel>,
    pub process: Process,
}

/// What is read from the maps.
#[derive(Debug)]
pub struct Kernel {
    pub packets: Counters,
    pub routes: Routes,
    pub fill: Vec<(&'static str, Fill)>,
    pub proxies: BTreeMap<ListenerAddress, bool>,
    pub events_lost: EventLosses,
}

/// What the routes did, by name. Two of one name, of different origins or alike in what the kernel keeps of a name, are
/// one here.
#[derive(Debug, Default)]
pub struct Routes {
    pub connections: BTreeMap<(String, Verdict), u64>,
    pub lost: BTreeMap<String, u64>,
    pub available: BTreeMap<String, bool>,
    pub left_out: usize,
}

/// Routes that are shown though nothing came of them yet, in the order of their slots.
const IDLE: usize = 1_000;

/// Routes that are shown at most.
const MOST: usize = 10_000;

impl Snapshot {
    /// Reads what the kernel counted.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn take(metrics: &Arc<Metrics>) -> Result<Self> {
        let kernel = metrics.source.get().map(Kernel::read).transpose()?;
        Ok(Self { recorded: metrics.clone(), kernel, process: Process::read() })
    }
}

impl Kernel {
    fn read(source: &Source) -> Result<Self> {
        let maps = &source.maps;
        let mut packets = maps.counters()?;
        // What cannot occur is not worth a line. Should it occur, it is.
        packets.retain(|(verdict, reason, count)| {
            count.packets > 0 || reason.verdicts().any(|possible| possible == *verdict)
        });
        let (mut proxies, mut targets) = (BTreeMap::new(), Targets::new());
        for (slot, proxy) in maps.proxies()? {
            for address in ListenerAddress::of(&proxy) {
                let listening = source.learner.learn(slot, address)?;
                let takes = !matches!(listening, Listening::No(_));
                proxies.insert(address, takes);
                *targets.entry((RouteKind::Proxy, slot)).or_default() |= takes;
            }
        }
        let found = maps.routes()?;
        let fill = maps.fill(found.len())?;
        let events_lost = maps.event_losses()?;
        Ok(Self { packets, routes: Routes::read(found, maps, targets)?, fill, proxies, events_lost })
    }
}

/// Which proxies and next hops, by slot, can be reached. Next hops are looked at when a route leads there.
type Targets = BTreeMap<(RouteKind, u32), bool>;

impl Routes {
    fn read(found: Vec<FoundRoute>, maps: &FoundMaps, mut targets: Targets) -> Result<Self> {
        let (number, stats) = (found.len(), maps.route_stats()?);
        let is_shown = |(place, route): &(usize, FoundRoute)| {
            *place < IDLE || route.totals.connections + route.totals.unavailable > 0
        };
        let mut routes = Self { left_out: number, ..Self::default() };
        for (_, route) in found.into_iter().enumerate().filter(is_shown).take(MOST) {
            let (name, target) = (route.name(), route.entry.target);
            for (verdict, connections) in route.verdicts() {
                *routes.connections.entry((name.clone(), verdict)).or_default() += connections;
            }
            let available = if route.is_proxy() {
                *routes.lost.entry(name.clone()).or_default() += stats.lost(&route)?;
                Some(targets.get(&(RouteKind::Proxy, target)).copied().unwrap_or_default())
            } else if route.is_interface() {
                Some(match targets.entry((RouteKind::Interface, target)) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(unknown) => *unknown.insert(maps.next_hop_is_up(target)?),
                })
            } else {
                None
            };
            if let Some(available) = available {
                *routes.available.entry(name).or_insert(true) &= available;
            }
            routes.left_out -= 1;
        }
        Ok(routes)
    }
}
