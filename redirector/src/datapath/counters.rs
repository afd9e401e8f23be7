//! What the programs counted, summed over the CPUs.

use std::borrow::Borrow;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use redirector_common::{
    Reason, Verdict,
    entries::{PacketCount, RouteCount},
    reason::counter_slot,
};

use super::load::{Datapath, map_mut};

/// Packets and bytes by verdict and reason; only what was seen at all.
pub type Counters = Vec<(Verdict, Reason, PacketCount)>;

/// A route's connections.
pub type RouteTotals = RouteCount;

impl Datapath {
    /// All packets that were counted.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn counters(&mut self) -> Result<Counters> {
        let map: PerCpuArray<&mut MapData, PacketCount> =
            PerCpuArray::try_from(map_mut(&mut self.ebpf, "REASONS")?)?;
        let mut counters = Counters::new();
        for &verdict in Verdict::ALL {
            for &reason in Reason::ALL {
                let mut sum = PacketCount::default();
                let values = map.get(&counter_slot(verdict, reason), 0).context("read REASONS")?;
                for value in values.iter() {
                    sum.packets += value.packets;
                    sum.bytes += value.bytes;
                }
                if sum.packets > 0 {
                    counters.push((verdict, reason, sum));
                }
            }
        }
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
}

/// Of one slot, summed over the CPUs.
pub(super) fn totals<T: Borrow<MapData>>(map: &PerCpuArray<T, RouteCount>, slot: u32) -> Result<RouteTotals> {
    let mut sum = RouteTotals::default();
    for value in map.get(&slot, 0).context("read ROUTE_STATS")?.iter() {
        sum.connections += value.connections;
        sum.unavailable += value.unavailable;
        sum.taken += value.taken;
    }
    Ok(sum)
}
