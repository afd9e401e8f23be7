//! The maps of programs that are in the kernel, read apart from the agent that filled them.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context, Result, ensure};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, lpm_trie::Key},
};
use redirector_common::entries::{
    CapturedEntry, EventLosses, NextHopEntry, PrefixEntry, PrefixKey, ProxyEntry, Settings,
};

use super::{OurProgram, known::OURS};
use crate::{
    datapath::{Counters, counters, load::TRIE_ROOM},
    sys::batch,
};

/// The maps of one agent's programs, by name. An agent reads its own as anybody reads those that are found, on whichever
/// thread.
#[derive(Debug)]
pub struct FoundMaps(BTreeMap<String, Source>);

/// How a map is opened.
#[derive(Debug)]
enum Source {
    /// By its id, which takes CAP_SYS_ADMIN.
    Id(u32),
    /// It is open.
    Open(OwnedFd),
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Entries in use.
    pub entries: u32,
    /// Entries that there is room for.
    pub capacity: u32,
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.entries, self.capacity)
    }
}

impl FoundMaps {
    /// Of the agent whose program came last: several generations are there when agents were killed.
    pub(super) fn of_newest(programs: &BTreeMap<u32, OurProgram>) -> Option<Self> {
        let newest = programs.values().next_back()?.maps.get(OURS)?;
        let generation = programs.values().filter(|program| program.maps.get(OURS) == Some(newest));
        let maps = generation.flat_map(|program| &program.maps);
        Some(Self(maps.map(|(name, id)| (name.clone(), Source::Id(*id))).collect()))
    }

    /// Of maps that are open.
    pub(in crate::datapath) fn of_open(maps: BTreeMap<String, OwnedFd>) -> Self {
        Self(maps.into_iter().map(|(name, map)| (name, Source::Open(map))).collect())
    }

    /// The settings of the programs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        self.array::<Settings>(OURS)?.get(&0, 0).context("read the settings")
    }

    /// The proxies, by slot, each with its slot.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn proxies(&self) -> Result<Vec<(u32, ProxyEntry)>> {
        let map = self.array::<ProxyEntry>("PROXIES")?;
        let proxies = (0..).zip(map.iter()).map(|(slot, proxy)| Ok((slot, proxy?)));
        let mut proxies: Vec<_> = proxies.collect::<Result<_>>().context("read PROXIES")?;
        proxies.retain(|(_, proxy)| proxy.port != 0);
        Ok(proxies)
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

    /// All packets that were counted, also where there were none.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Counters> {
        counters::packets(&self.open("REASONS")?)
    }

    /// New connections that nobody was told of.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn event_losses(&self) -> Result<EventLosses> {
        let map: PerCpuArray<MapData, EventLosses> = self.open("EVENT_LOSSES")?;
        Ok(counters::losses(&map.get(&0, 0).context("read EVENT_LOSSES")?))
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

    /// How full the maps are whose room is a setting, with so many routes in them.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn fill(&self, routes: usize) -> Result<Vec<(&'static str, Fill)>> {
        let fill = |name, entries: usize, room: u32| -> Result<_> {
            let capacity = self.data(name)?.info()?.max_entries() / room;
            Ok((name, Fill { entries: entries as u32, capacity }))
        };
        Ok(vec![
            fill("ROUTES", routes, 1)?,
            fill("PREFIXES", self.count_trie("PREFIXES")?, TRIE_ROOM)?,
            fill("SOURCES", self.count_trie("SOURCES")?, TRIE_ROOM)?,
            fill("PROXIES", self.proxies()?.len(), 1)?,
        ])
    }

    fn count_trie(&self, name: &str) -> Result<usize> {
        let mut count = 0;
        self.each(name, 1, |_: &Key<PrefixKey>, _: &[PrefixEntry]| {
            count += 1;
            true
        })?;
        Ok(count)
    }

    /// Hands the entries of a map to `each`, many read at a time.
    pub(super) fn each<K: Pod, V: Pod>(
        &self,
        name: &str,
        values: usize,
        each: impl FnMut(&K, &[V]) -> bool,
    ) -> Result<()> {
        let map = self.data(name)?;
        // The kernel would write as much as it has, whatever there is room for.
        let info = map.info()?;
        let expected = (size_of::<K>() as u32, size_of::<V>() as u32);
        ensure!((info.key_size(), info.value_size()) == expected, "open {name}: it is of another build");
        batch::entries(map.fd().as_fd(), values, each).with_context(|| format!("read {name}"))
    }

    fn array<T: Pod>(&self, name: &str) -> Result<Array<MapData, T>> {
        self.open(name)
    }

    pub(super) fn open<T>(&self, name: &str) -> Result<T>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        let map = Map::from_map_data(self.data(name)?)?;
        T::try_from(map).with_context(|| format!("open {name}: it is of another build"))
    }

    fn data(&self, name: &str) -> Result<MapData> {
        let source = self.0.get(name).with_context(|| format!("the programs have no map {name}"))?;
        Ok(match source {
            Source::Id(id) => MapData::from_id(*id)?,
            Source::Open(map) => MapData::from_fd(map.try_clone()?)?,
        })
    }
}
