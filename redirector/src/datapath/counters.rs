//! What the programs counted, summed over the CPUs.

use std::{borrow::Borrow, collections::BTreeMap, os::fd::AsFd as _};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use redirector_common::{
    Reason, Verdict,
    entries::{EventLosses, PacketCount, RouteCount},
    reason::counter_slot,
};

use super::{
    found::FoundMaps,
    load::{Datapath, map_mut},
};

/// Packets and bytes by verdict and reason.
pub type Counters = Vec<(Verdict, Reason, PacketCount)>;

/// A route's connections.
pub type RouteTotals = RouteCount;

impl Datapath {
    /// All packets that were counted; only what was seen at all.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn counters(&mut self) -> Result<Counters> {
        let map: PerCpuArray<&mut MapData, PacketCount> =
            PerCpuArray::try_from(map_mut(&mut self.ebpf, "REASONS")?)?;
        let mut counters = packets(&map)?;
        counters.retain(|(.., count)| count.packets > 0);
        Ok(counters)
    }

    /// The connections that the route in this slot decided.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn route_totals(&mut self, slot: u32) -> Result<RouteTotals> {
        let map: PerCpuArray<&mut MapData, RouteCount> =
            PerCpuArray::try_from(map_mut(&mut self.ebpf, "ROUTE_STATS")?)?;
        totals(&map, slot)
    }

    /// The maps, to be read apart from this and on whichever thread.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn maps(&self) -> Result<FoundMaps> {
        let mut maps = BTreeMap::new();
        for (name, map) in self.ebpf.maps() {
            if let Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data) | Map::PerCpuArray(data) = map {
                maps.insert(name.to_owned(), data.fd().as_fd().try_clone_to_owned().context("share a map")?);
            }
        }
        Ok(FoundMaps::of_open(maps))
    }
}

/// Packets and bytes by every verdict and reason.
pub(super) fn packets<T: Borrow<MapData>>(map: &PerCpuArray<T, PacketCount>) -> Result<Counters> {
    let mut counters = Counters::new();
    for &verdict in Verdict::ALL {
        for &reason in Reason::ALL {
            let mut sum = PacketCount::default();
            for value in map.get(&counter_slot(verdict, reason), 0).context("read REASONS")?.iter() {
                sum.packets += value.packets;
                sum.bytes += value.bytes;
            }
            counters.push((verdict, reason, sum));
        }
    }
    Ok(counters)
}

/// Of one slot, summed over the CPUs.
pub(super) fn totals<T: Borrow<MapData>>(map: &PerCpuArray<T, RouteCount>, slot: u32) -> Result<RouteTotals> {
    Ok(sum(&map.get(&slot, 0).context("read ROUTE_STATS")?))
}

/// What the CPUs counted together.
pub(super) fn sum(counts: &[RouteCount]) -> RouteTotals {
    counts.iter().fold(RouteTotals::default(), |sum, count| RouteTotals {
        connections: sum.connections + count.connections,
        unavailable: sum.unavailable + count.unavailable,
        taken: sum.taken + count.taken,
    })
}

/// What no CPU could tell of.
pub(super) fn losses(losses: &[EventLosses]) -> EventLosses {
    losses.iter().fold(EventLosses::default(), |sum, losses| EventLosses {
        rate: sum.rate + losses.rate,
        full: sum.full + losses.full,
    })
}
