//! The maps of programs that are in the kernel, read without the agent that filled them.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapInfo, PerCpuArray},
};
use redirector_common::entries::{
    CapturedEntry, NextHopEntry, PrefixEntry, PrefixKey, ProxyEntry, ROUTE_NAME_BYTES, RouteCount,
    RouteEntry, Settings,
};

use super::{OurProgram, known::OURS};
use crate::datapath::{RouteTotals, counters, route_names};

/// The maps of one agent's programs.
#[derive(Debug)]
pub struct FoundMaps(BTreeMap<String, u32>);

/// The counters of the routes.
pub struct RouteStats(PerCpuArray<MapData, RouteCount>);

impl RouteStats {
    /// The connections that the route in a slot decided.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn totals(&self, slot: u32) -> Result<RouteTotals> {
        counters::totals(&self.0, slot)
    }
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Entries in use.
    pub entries: u32,
    /// Whether there may be more: counting ended there.
    pub at_least: bool,
    /// Entries that there is room for.
    pub capacity: u32,
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.at_least { " or more" } else { "" };
        write!(f, "{}{more} of {}", self.entries, self.capacity)
    }
}

/// Entries of a trie that are counted at most. Each costs a system call, about a microsecond.
const COUNTED: usize = 65_536;

impl FoundMaps {
    /// Of the agent whose program came last: several generations are there when agents were killed.
    pub(super) fn of_newest(programs: &BTreeMap<u32, OurProgram>) -> Option<Self> {
        let newest = programs.values().next_back()?.maps.get(OURS)?;
        let generation = programs.values().filter(|program| program.maps.get(OURS) == Some(newest));
        Some(Self(generation.flat_map(|program| program.maps.clone()).collect()))
    }

    /// The settings of the programs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        self.array::<Settings>(OURS)?.get(&0, 0).context("read the settings")
    }

    /// The proxies, by slot.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn proxies(&self) -> Result<Vec<ProxyEntry>> {
        let map = self.array::<ProxyEntry>("PROXIES")?;
        let mut proxies: Vec<ProxyEntry> = map.iter().collect::<Result<_, _>>().context("read PROXIES")?;
        proxies.retain(|proxy| proxy.port != 0);
        Ok(proxies)
    }

    /// The routes by slot, with what each is called and what it does.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn routes(&self) -> Result<Vec<(u32, String, RouteEntry)>> {
        let names: HashMap<MapData, u32, [u8; ROUTE_NAME_BYTES]> = self.open("ROUTE_NAMES")?;
        let entries = self.array::<RouteEntry>("ROUTES")?;
        let mut routes = Vec::new();
        for name in names.iter() {
            let (slot, name) = name.context("read ROUTE_NAMES")?;
            let entry = entries.get(&slot, 0).context("read ROUTES")?;
            routes.push((slot, route_names::read(&name), entry));
        }
        routes.sort_by_key(|(slot, ..)| *slot);
        Ok(routes)
    }

    /// Whether the next hop in a slot can be sent to, as far as the agent knew.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn next_hop_is_up(&self, slot: u32) -> Result<bool> {
        let hop = self.array::<NextHopEntry>("NEXT_HOPS")?.get(&slot, 0).context("read NEXT_HOPS")?;
        Ok(hop.ifindex != 0)
    }

    /// The counters of the routes.
    ///
    /// # Errors
    ///
    /// The map cannot be opened.
    pub fn route_stats(&self) -> Result<RouteStats> {
        self.open("ROUTE_STATS").map(RouteStats)
    }

    /// The interfaces that the agent captured, by ifindex.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn captured(&self) -> Result<Vec<u32>> {
        let map: HashMap<MapData, u32, CapturedEntry> = self.open("CAPTURED")?;
        map.keys().collect::<Result<_, _>>().context("read CAPTURED")
    }

    /// How full the maps are whose room is a setting.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn fill(&self) -> Result<Vec<(&'static str, Fill)>> {
        let exact = |name, entries: usize| -> Result<_> {
            let capacity = MapInfo::from_id(self.id(name)?)?.max_entries();
            Ok((name, Fill { entries: entries as u32, at_least: false, capacity }))
        };
        Ok(vec![
            exact("ROUTES", self.routes()?.len())?,
            self.trie_fill("PREFIXES")?,
            self.trie_fill("SOURCES")?,
            exact("PROXIES", self.proxies()?.len())?,
        ])
    }

    fn trie_fill(&self, name: &'static str) -> Result<(&'static str, Fill)> {
        let capacity = MapInfo::from_id(self.id(name)?)?.max_entries();
        let map: LpmTrie<MapData, PrefixKey, PrefixEntry> = self.open(name)?;
        let entries = map.keys().take(COUNTED).count();
        Ok((name, Fill { entries: entries as u32, at_least: entries == COUNTED, capacity }))
    }

    fn array<T: Pod>(&self, name: &str) -> Result<Array<MapData, T>> {
        self.open(name)
    }

    fn open<T>(&self, name: &str) -> Result<T>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        let map = Map::from_map_data(MapData::from_id(self.id(name)?)?)?;
        T::try_from(map).with_context(|| format!("open {name}: it is of another build"))
    }

    fn id(&self, name: &str) -> Result<u32> {
        self.0.get(name).copied().with_context(|| format!("the programs have no map {name}"))
    }
}
