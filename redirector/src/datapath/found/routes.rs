//! The routes as the maps have them, with what became of their connections.

use anyhow::{Context, Result};
use aya::{
    maps::{MapData, PerCpuArray},
    util::nr_cpus,
};
use redirector_common::{
    Reason, Verdict,
    entries::{ROUTE_NAME_BYTES, RouteCount, RouteEntry, RouteKind},
};

use super::FoundMaps;
use crate::datapath::{RouteTotals, counters, route_names};

/// A route in the maps.
#[derive(Clone, Debug)]
pub struct FoundRoute {
    /// Its slot.
    pub slot: u32,
    /// What it does.
    pub entry: RouteEntry,
    /// The connections that it decided.
    pub totals: RouteTotals,
    name: [u8; ROUTE_NAME_BYTES],
}

impl FoundRoute {
    /// What it is called; of a long name the beginning.
    pub fn name(&self) -> String {
        route_names::read(&self.name)
    }

    /// Whether it steers to a proxy.
    pub fn is_proxy(&self) -> bool {
        self.entry.kind == RouteKind::Proxy as u8
    }

    /// Whether it leads to an interface.
    pub fn is_interface(&self) -> bool {
        self.entry.kind == RouteKind::Interface as u8
    }

    /// The verdict of its target and how many connections got it; and, where the target may be unavailable, that of its
    /// `else` likewise.
    pub fn verdicts(&self) -> impl Iterator<Item = (Verdict, u64)> + use<> {
        const KINDS: [(RouteKind, Reason); 3] = [
            (RouteKind::Proxy, Reason::Proxy),
            (RouteKind::Interface, Reason::Interface),
            (RouteKind::Drop, Reason::DropRoute),
        ];
        let kind = KINDS.into_iter().find(|(kind, _)| self.entry.kind == *kind as u8);
        let reason = kind.map_or(Reason::PassRoute, |(_, reason)| reason);
        let otherwise = self.entry.on_unavailable;
        let target = (reason.verdict(otherwise), self.totals.connections);
        let otherwise = (Reason::NoListener.verdict(otherwise), self.totals.unavailable);
        [target].into_iter().chain((self.is_proxy() || self.is_interface()).then_some(otherwise))
    }
}

/// The counters of the routes.
pub struct RouteStats(PerCpuArray<MapData, RouteCount>);

impl RouteStats {
    /// Connections that a route steered and that nobody took, as of now or a moment ago. One on its way between the two
    /// counts is not lost: it is there by the next look.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn lost(&self, route: &FoundRoute) -> Result<u64> {
        /// At ten thousand connections a second about one look in fifty sees one on its way.
        const LOOKS: u32 = 4;
        let lost = |totals: &RouteTotals| totals.connections.saturating_sub(totals.taken);
        let mut least = if route.is_proxy() { lost(&route.totals) } else { 0 };
        for _ in 0..LOOKS {
            if least == 0 {
                break;
            }
            least = least.min(lost(&counters::totals(&self.0, route.slot)?));
        }
        Ok(least)
    }
}

impl FoundMaps {
    /// The routes, by slot.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn routes(&self) -> Result<Vec<FoundRoute>> {
        let mut routes = Vec::new();
        self.each("ROUTE_NAMES", 1, |slot: &u32, names: &[[u8; ROUTE_NAME_BYTES]]| {
            let (entry, totals) = (RouteEntry::default(), RouteTotals::default());
            routes.push(FoundRoute { slot: *slot, entry, totals, name: names[0] });
            true
        })?;
        routes.sort_unstable_by_key(|route| route.slot);
        let Some(end) = routes.last().map(|last| last.slot) else { return Ok(routes) };

        let mut next = 0;
        self.each("ROUTES", 1, |slot: &u32, entries: &[RouteEntry]| {
            if let Some(route) = routes.get_mut(next).filter(|route| route.slot == *slot) {
                route.entry = entries[0];
                next += 1;
            }
            *slot < end
        })?;
        let mut next = 0;
        let cpus = nr_cpus().map_err(|(_, error)| error).context("count the CPUs")?;
        self.each("ROUTE_STATS", cpus, |slot: &u32, counts: &[RouteCount]| {
            if let Some(route) = routes.get_mut(next).filter(|route| route.slot == *slot) {
                route.totals = counters::sum(counts);
                next += 1;
            }
            *slot < end
        })?;
        Ok(routes)
    }

    /// The counters of the routes.
    ///
    /// # Errors
    ///
    /// The map cannot be opened.
    pub fn route_stats(&self) -> Result<RouteStats> {
        self.open("ROUTE_STATS").map(RouteStats)
    }
}
