//! Fills the maps that say of the host: its addresses, and the interfaces that routes lead to.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use redirector_common::{
    Address, Family,
    entries::{LOCALS_PER_FAMILY, NextHopEntry, Via, locals_slot},
};

use super::load::{Datapath, map_mut};
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
    pub fn set_next_hops(&mut self, interfaces: &[Interface]) -> Result<BTreeMap<String, bool>> {
        let mut map: Array<&mut MapData, NextHopEntry> =
            Array::try_from(map_mut(&mut self.ebpf, "NEXT_HOPS")?)?;
        let mut changed = BTreeMap::new();
        for (slot, (hop, written)) in &mut self.next_hops {
            let entry = next_hop(hop, interfaces);
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

    /// Writes the addresses of this host. What does not find room costs its packets a socket look-up, and a
    /// listener there must be transparent.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_locals(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let addresses: Vec<(Family, Address)> = addresses.iter().map(|address| entry(*address)).collect();
        let (seed, slots) = layout(self.locals_seed(), &addresses);
        let same_seed = seed == self.locals_seed();
        self.set_locals_seed(seed)?;
        let old = std::mem::take(&mut self.locals);
        let mut map: Array<&mut MapData, Address> = Array::try_from(map_mut(&mut self.ebpf, "LOCALS")?)?;
        for (slot, address) in slots.iter().enumerate() {
            if !same_seed || old.get(slot) != Some(address) {
                map.set(slot as u32, address, 0).context("write LOCALS")?;
            }
        }
        self.locals = slots;
        Ok(())
    }
}

/// How many seeds are tried for one that gives every address a slot of its own.
const SEEDS: u32 = 256;

/// A seed and the slots it gives, with as few addresses left out as can be. The seed in use is tried first: while
/// another takes its place, addresses are missed.
fn layout(in_use: u32, addresses: &[(Family, Address)]) -> (u32, Vec<Address>) {
    let mut best = (usize::MAX, 0, Vec::new());
    for seed in [in_use].into_iter().chain(0..SEEDS) {
        let mut slots = vec![Address::default(); (LOCALS_PER_FAMILY * Family::COUNT) as usize];
        let mut left_out = 0;
        for (family, address) in addresses {
            let slot = &mut slots[locals_slot(*family, address, seed) as usize];
            if *slot == Address::default() {
                *slot = *address;
            } else {
                left_out += 1;
            }
        }
        if left_out < best.0 {
            best = (left_out, seed, slots);
        }
        if left_out == 0 {
            break;
        }
    }
    (best.1, best.2)
}

fn next_hop(hop: &NextHop, interfaces: &[Interface]) -> NextHopEntry {
    let running = interfaces.iter().find(|interface| interface.name == hop.interface && interface.is_running);
    let via_kind = match hop.via {
        None => Via::Destination,
        Some(IpAddr::V4(_)) => Via::V4,
        Some(IpAddr::V6(_)) => Via::V6,
    };
    NextHopEntry {
        ifindex: running.map_or(0, |interface| interface.index),
        via: hop.via.map_or(Address::default(), |via| entry(via).1),
        via_kind: via_kind as u8,
        ethernet: running.is_some_and(|interface| interface.link != Link::Layer3).into(),
        pad: 0,
    }
}

fn entry(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(address) => (Family::V4, Address::v4(address.octets())),
        IpAddr::V6(address) => (Family::V6, Address::v6(address.octets())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_busy_host_finds_its_slot() {
        let addresses: Vec<_> = (0..60_u8)
            .flat_map(|n| [Address::v4([10, 244, n, 1]), Address::v4([10, 0, 0, n])])
            .map(|address| (Family::V4, address))
            .chain(
                (0..60_u8)
                    .map(|n| (Family::V6, Address::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]))),
            )
            .collect();
        let (seed, slots) = layout(0, &addresses);
        for (family, address) in &addresses {
            assert_eq!(slots[locals_slot(*family, address, seed) as usize], *address);
        }
    }
}
