//! `LOCALS`: the addresses of this host, each in the slot that a seeded hash gives it.

use std::{collections::HashSet, net::IpAddr};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use redirector_common::{
    Address, Family,
    entries::{LOCALS_PER_FAMILY, locals_slot},
};

use super::load::{Datapath, map_mut};

/// What stands in `LOCALS`, and what does not.
#[derive(Default)]
pub(super) struct Locals {
    addresses: HashSet<IpAddr>,
    slots: Vec<Address>,
    /// How many found their slots taken. Each costs its packets a socket look-up, and a listener there must be
    /// transparent.
    left_out: usize,
}

impl Datapath {
    /// Writes the addresses of this host, and those only.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_locals(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let now: HashSet<IpAddr> = addresses.iter().copied().collect();
        for address in self.locals.addresses.difference(&now).copied().collect::<Vec<_>>() {
            self.remove_local(address)?;
        }
        now.into_iter().try_for_each(|address| self.add_local(address))
    }

    /// Writes an address of this host, which may be known.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn add_local(&mut self, ip: IpAddr) -> Result<()> {
        let (family, address) = entry(ip);
        // Every interface has a link-local one, which no program asks for.
        if address.never_redirected(family) || !self.locals.addresses.insert(ip) {
            return Ok(());
        }
        let slot = locals_slot(family, &address, self.locals_seed());
        if self.locals.at(slot) == Address::default() {
            return self.write_local(slot, address);
        }
        self.locals.left_out += 1;
        if self.locals.addresses.len() <= MOST_SOUGHT { self.lay_out_locals() } else { Ok(()) }
    }

    /// Removes what is no address of this host any more.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn remove_local(&mut self, ip: IpAddr) -> Result<()> {
        if !self.locals.addresses.remove(&ip) {
            return Ok(());
        }
        let (family, address) = entry(ip);
        let slot = locals_slot(family, &address, self.locals_seed());
        if self.locals.at(slot) != address {
            self.locals.left_out -= 1;
            return Ok(());
        }
        let seed = self.locals_seed();
        let others = self.locals.addresses.iter().map(|other| entry(*other));
        let next = (self.locals.left_out > 0)
            .then(|| others.into_iter().find(|(family, other)| locals_slot(*family, other, seed) == slot))
            .flatten();
        self.locals.left_out -= usize::from(next.is_some());
        self.write_local(slot, next.map_or(Address::default(), |(_, other)| other))
    }

    /// Whether the programs know an address as this host's.
    pub fn is_local(&self, family: Family, address: &Address) -> bool {
        self.locals.at(locals_slot(family, address, self.locals_seed())) == *address
    }

    /// Looks for a seed that gives each address a slot of its own. While it takes the place of the one in use, addresses
    /// are missed.
    fn lay_out_locals(&mut self) -> Result<()> {
        let addresses: Vec<_> = self.locals.addresses.iter().map(|address| entry(*address)).collect();
        let (seed, slots, left_out) = layout(self.locals_seed(), &addresses);
        self.locals.left_out = left_out;
        if seed == self.locals_seed() {
            return Ok(());
        }
        self.set_locals_seed(seed)?;
        for (slot, address) in (0..).zip(slots) {
            if self.locals.at(slot) != address {
                self.write_local(slot, address)?;
            }
        }
        Ok(())
    }

    fn write_local(&mut self, slot: u32, address: Address) -> Result<()> {
        let mut map: Array<&mut MapData, Address> = Array::try_from(map_mut(&mut self.ebpf, "LOCALS")?)?;
        map.set(slot, address, 0).context("write LOCALS")?;
        self.locals.slots.resize(SLOTS, Address::default());
        self.locals.slots[slot as usize] = address;
        Ok(())
    }
}

impl Locals {
    fn at(&self, slot: u32) -> Address {
        self.slots.get(slot as usize).copied().unwrap_or_default()
    }
}

const SLOTS: usize = (LOCALS_PER_FAMILY * Family::COUNT) as usize;

/// How many seeds are tried for one that gives every address a slot of its own.
const SEEDS: u32 = 256;

/// With more addresses than this none of the seeds is likely to, and another is not looked for.
const MOST_SOUGHT: usize = 320;

/// A seed, the slots it gives, and how many addresses it leaves out: as few as can be. The seed in use is tried
/// first.
fn layout(in_use: u32, addresses: &[(Family, Address)]) -> (u32, Vec<Address>, usize) {
    let mut best = (0, Vec::new(), usize::MAX);
    for seed in [in_use].into_iter().chain(0..SEEDS) {
        let mut slots = vec![Address::default(); SLOTS];
        let mut left_out = 0;
        for (family, address) in addresses {
            let slot = &mut slots[locals_slot(*family, address, seed) as usize];
            if *slot == Address::default() {
                *slot = *address;
            } else {
                left_out += 1;
            }
        }
        if left_out < best.2 {
            best = (seed, slots, left_out);
        }
        if left_out == 0 {
            break;
        }
    }
    best
}

/// An address as maps have it.
pub(super) fn entry(address: IpAddr) -> (Family, Address) {
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
        let (seed, slots, left_out) = layout(0, &addresses);
        assert_eq!(left_out, 0);
        for (family, address) in &addresses {
            assert_eq!(slots[locals_slot(*family, address, seed) as usize], *address);
        }
    }
}
