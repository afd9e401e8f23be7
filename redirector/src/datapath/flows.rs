//! New connections as the programs tell of them, with the names of what they met.

use std::collections::HashMap as Cache;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use redirector_common::entries::{
    EventLosses, EventSettings, FlowEvent, NextHopEntry, ProxyEntry, ROUTE_NAME_BYTES, RouteEntry, RouteKind,
};

use super::{counters, load::Datapath, route_names};

/// Reads what the programs tell, on whichever thread of the network namespace.
pub struct FlowReader {
    events: RingBuf<MapData>,
    settings: Array<MapData, EventSettings>,
    losses: PerCpuArray<MapData, EventLosses>,
    names: HashMap<MapData, u32, [u8; ROUTE_NAME_BYTES]>,
    routes: Array<MapData, RouteEntry>,
    proxies: Array<MapData, ProxyEntry>,
    next_hops: Array<MapData, NextHopEntry>,
}

/// A route as it is called now, and what it leads to.
#[derive(Clone, Debug, Default)]
pub struct RouteFacts {
    /// Its name; of a long one the beginning.
    pub name: String,
    /// Where it leads.
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, Default)]
pub enum RouteTarget {
    /// To a proxy.
    Proxy(ProxyEntry),
    /// To the interface with this number.
    Interface(u32),
    /// Nowhere else.
    #[default]
    None,
}

impl Datapath {
    /// What reads the events of new connections. There is one: what it has read is gone.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn flow_reader(&self) -> Result<FlowReader> {
        Ok(FlowReader {
            events: self.shared("FLOW_EVENTS")?,
            settings: self.shared("EVENTS")?,
            losses: self.shared("EVENT_LOSSES")?,
            names: self.shared("ROUTE_NAMES")?,
            routes: self.shared("ROUTES")?,
            proxies: self.shared("PROXIES")?,
            next_hops: self.shared("NEXT_HOPS")?,
        })
    }

    /// A map once more, for others than this.
    fn shared<T>(&self, name: &str) -> Result<T>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
        let (Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) = map
        else {
            anyhow::bail!("{name} is of a kind that is not shared")
        };
        let descriptor = std::os::fd::AsFd::as_fd(data.fd()).try_clone_to_owned().context("share a map")?;
        let map = Map::from_map_data(MapData::from_fd(descriptor)?)?;
        T::try_from(map).with_context(|| format!("open {name}"))
    }
}

impl Iterator for FlowReader {
    type Item = FlowEvent;

    /// The next event, if one is there already.
    fn next(&mut self) -> Option<FlowEvent> {
        let record = self.events.next()?;
        let bytes: &[u8] = &record;
        if bytes.len() != size_of::<FlowEvent>() {
            return Some(FlowEvent::default());
        }
        // SAFETY: the record is as long as an event, which takes any bit pattern, and is read wherever it lies.
        Some(unsafe { bytes.as_ptr().cast::<FlowEvent>().read_unaligned() })
    }
}

impl FlowReader {
    /// Says what is to be told from now on.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set(&mut self, settings: EventSettings) -> Result<()> {
        self.settings.set(0, settings, 0).context("write EVENTS")
    }

    /// Connections that nobody was told of, since the programs were loaded.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn lost(&self) -> Result<EventLosses> {
        Ok(counters::losses(&self.losses.get(&0, 0).context("read EVENT_LOSSES")?))
    }

    /// What is known of the route in a slot. `known` keeps it for the next event.
    pub fn route<'a>(&self, slot: u32, known: &'a mut Cache<u32, RouteFacts>) -> &'a RouteFacts {
        known.entry(slot).or_insert_with(|| self.facts(slot).unwrap_or_default())
    }

    fn facts(&self, slot: u32) -> Option<RouteFacts> {
        let name = route_names::read(&self.names.get(&slot, 0).ok()?);
        let entry = self.routes.get(&slot, 0).ok()?;
        let target = match entry.kind {
            kind if kind == RouteKind::Proxy as u8 => {
                RouteTarget::Proxy(self.proxies.get(&entry.target, 0).ok()?)
            }
            kind if kind == RouteKind::Interface as u8 => {
                RouteTarget::Interface(self.next_hops.get(&entry.target, 0).ok()?.ifindex)
            }
            _ => RouteTarget::None,
        };
        Some(RouteFacts { name, target })
    }
}
