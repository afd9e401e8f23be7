//! Fills the maps. Each packet meets one whole route: what is pointed to is written before what points to it.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use aya::maps::{
    Array, MapData,
    lpm_trie::{Key, LpmTrie},
};
use redirector_common::{
    Address,
    entries::{NextHopEntry, PortWord, PrefixEntry, PrefixKey, ProxyEntry, RouteEntry, Via},
};

use super::{
    load::{Datapath, map_mut},
    locals,
};
use crate::{
    host::{Interface, Link},
    routes::{Compiled, NextHop},
};

impl Datapath {
    /// Writes the routes into maps that hold none yet.
    ///
    /// # Errors
    ///
    /// A map is full or the kernel refused. Nothing is steered then, for no interface is captured yet.
    pub fn publish(&mut self, compiled: &Compiled) -> Result<()> {
        let mut proxies: Array<&mut MapData, ProxyEntry> =
            Array::try_from(map_mut(&mut self.ebpf, "PROXIES")?)?;
        for (slot, proxy) in (0..).zip(&compiled.proxies) {
            proxies.set(slot, proxy, 0).context("write PROXIES")?;
        }
        let mut routes: Array<&mut MapData, RouteEntry> =
            Array::try_from(map_mut(&mut self.ebpf, "ROUTES")?)?;
        for (slot, route) in (0..).zip(&compiled.routes) {
            routes.set(slot, route.entry, 0).context("write ROUTES")?;
        }
        self.next_hops = compiled.next_hops.iter().map(|hop| (hop.clone(), None)).collect();
        self.write_route_names(&compiled.routes)?;
        for (name, entries) in [("SOURCES", &compiled.sources), ("PREFIXES", &compiled.prefixes)] {
            let mut map: LpmTrie<&mut MapData, PrefixKey, PrefixEntry> =
                LpmTrie::try_from(map_mut(&mut self.ebpf, name)?)?;
            for prefix in entries {
                let key = Key::new(prefix.bits, prefix.key);
                map.insert(&key, prefix.entry, 0).with_context(|| format!("write {name}"))?;
            }
        }
        let mut ports: Array<&mut MapData, PortWord> = Array::try_from(map_mut(&mut self.ebpf, "PORTS")?)?;
        for (index, word) in &compiled.ports {
            ports.set(*index, word, 0).context("write PORTS")?;
        }
        Ok(())
    }

    /// Writes which of the interfaces that routes lead to are there: a packet to one that is not gets its route's `else`.
    /// Returns those that came or went, with the word which.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_next_hops(
        &mut self,
        named: impl Fn(&str) -> Option<Interface>,
    ) -> Result<BTreeMap<String, bool>> {
        let mut map: Array<&mut MapData, NextHopEntry> =
            Array::try_from(map_mut(&mut self.ebpf, "NEXT_HOPS")?)?;
        let mut changed = BTreeMap::new();
        for (slot, (hop, written)) in (0..).zip(&mut self.next_hops) {
            let entry = next_hop(hop, named(&hop.interface));
            if *written != Some(entry) {
                map.set(slot, entry, 0).context("write NEXT_HOPS")?;
                if written.is_none_or(|written| written.ifindex != entry.ifindex) {
                    changed.insert(hop.interface.clone(), entry.ifindex != 0);
                }
                *written = Some(entry);
            }
        }
        Ok(changed)
    }
}

fn next_hop(hop: &NextHop, interface: Option<Interface>) -> NextHopEntry {
    let running = interface.filter(|interface| interface.is_running);
    let via_kind = match hop.via {
        None => Via::Destination,
        Some(IpAddr::V4(_)) => Via::V4,
        Some(IpAddr::V6(_)) => Via::V6,
    };
    NextHopEntry {
        ifindex: running.as_ref().map_or(0, |interface| interface.index),
        via: hop.via.map_or(Address::default(), |via| locals::entry(via).1),
        via_kind: via_kind as u8,
        ethernet: running.is_some_and(|interface| interface.link != Link::Layer3).into(),
        pad: 0,
    }
}
