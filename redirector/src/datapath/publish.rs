//! Fills the maps that say of the host: its addresses, and the interfaces that routes lead to.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use redirector_common::{
    Address,
    entries::{NextHopEntry, Via},
};

use super::{
    load::{Datapath, map_mut},
    locals,
};
use crate::{
    host::{Interface, Link},
    routes::NextHop,
};

impl Datapath {
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
        for (slot, (hop, written)) in &mut self.next_hops {
            let entry = next_hop(hop, named(&hop.interface));
            if *written != Some(entry) {
                map.set(*slot, entry, 0).context("write NEXT_HOPS")?;
                if written.is_none_or(|written| written.ifindex != entry.ifindex) {
                    changed.insert(hop.interface.clone(), entry.ifindex != 0);
                }
                *written = Some(entry);
            }
        }
        Ok(changed)
    }

    /// Whether the next hop in a slot was up when that was last written.
    pub fn next_hop_is_up(&self, slot: u32) -> bool {
        self.next_hops.get(&slot).and_then(|(_, written)| *written).is_some_and(|entry| entry.ifindex != 0)
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
