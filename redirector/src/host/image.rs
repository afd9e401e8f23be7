//! The interfaces and addresses of the network namespace as the agent knows them: read once, and then kept by notices.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use anyhow::Result;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage, link::LinkMessage};

use super::{
    addresses::{self, Assigned},
    interfaces::{self, Facts, Interface},
};

/// What there is, and what of it has changed since it was asked.
#[derive(Default)]
pub struct Image {
    facts: BTreeMap<u32, Facts>,
    by_name: HashMap<String, u32>,
    /// Bridge and port.
    ports: BTreeSet<(u32, u32)>,
    assigned: BTreeSet<Assigned>,
    /// By ifindex, with the name of one that went meanwhile: its number may be another's now.
    changed: BTreeMap<u32, Option<String>>,
    /// Those of them that are up.
    urgent: BTreeSet<u32>,
    changed_addresses: BTreeSet<IpAddr>,
    changed_hooks: BTreeSet<u32>,
}

/// An interface that came, went or is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub index: u32,
    /// The name of the one that had this number and went.
    pub gone: Option<String>,
    /// What has this number now.
    pub now: Option<Interface>,
}

impl Image {
    /// Reads everything from the kernel, in the calling thread's network namespace. All of it counts as changed.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn read(&mut self) -> Result<()> {
        let (facts, assigned) = (interfaces::facts()?, addresses::assigned()?);
        let gone: Vec<u32> = self.facts.keys().copied().filter(|index| !facts.contains_key(index)).collect();
        gone.into_iter().for_each(|index| self.remove(index));
        for (index, facts) in facts {
            self.set(index, facts);
            self.mark(index);
        }
        self.changed_addresses.extend(self.assigned.iter().chain(&assigned).map(|assigned| assigned.address));
        self.assigned = assigned;
        Ok(())
    }

    /// Takes a notice in.
    pub fn apply(&mut self, notice: &RouteNetlinkMessage) {
        use RouteNetlinkMessage as Notice;
        match notice {
            Notice::NewLink(message) if is_whole(message) => {
                if let Some(facts) = Facts::read(message) {
                    self.set(message.header.index, facts);
                }
            }
            Notice::DelLink(message) if is_whole(message) => self.remove(message.header.index),
            Notice::NewAddress(message) => {
                if let Some(assigned) = Assigned::read(message)
                    && self.assigned.insert(assigned)
                {
                    self.changed_addresses.insert(assigned.address);
                }
            }
            Notice::DelAddress(message) => {
                if let Some(assigned) = Assigned::read(message)
                    && self.assigned.remove(&assigned)
                {
                    self.changed_addresses.insert(assigned.address);
                }
            }
            Notice::NewQueueDiscipline(message)
            | Notice::DelQueueDiscipline(message)
            | Notice::NewTrafficFilter(message)
            | Notice::DelTrafficFilter(message) => {
                self.changed_hooks.extend(u32::try_from(message.header.index));
            }
            _ => {}
        }
    }

    /// Whether a change was not asked for yet.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty() || !self.changed_addresses.is_empty()
    }

    /// The change that concerns traffic most: of an interface that is up, for one that is down receives nothing.
    pub fn next_change(&mut self) -> Option<Change> {
        let index = *self.urgent.first().or_else(|| self.changed.keys().next())?;
        let gone = self.changed.remove(&index)?;
        self.urgent.remove(&index);
        Some(Change { index, gone, now: self.interface(index) })
    }

    /// The addresses that came or went, and whether this host has each now.
    pub fn take_changed_addresses(&mut self) -> impl Iterator<Item = (IpAddr, bool)> {
        let changed = std::mem::take(&mut self.changed_addresses);
        changed.into_iter().map(|address| (address, self.has_address(address)))
    }

    /// The interfaces whose qdiscs or filters changed, by ifindex.
    pub fn take_changed_hooks(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed_hooks)
    }

    /// All interfaces, in the order of their numbers.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        self.facts.keys().filter_map(|index| self.interface(*index))
    }

    /// The interface with this number.
    pub fn interface(&self, index: u32) -> Option<Interface> {
        let macs = |bridge| self.facts.get(&bridge).and_then(|facts| facts.mac);
        self.facts.get(&index).map(|facts| facts.interface(index, macs))
    }

    /// An interface's MAC address, if it has one.
    pub fn mac(&self, index: u32) -> Option<[u8; 6]> {
        self.facts.get(&index)?.mac
    }

    /// The interface with this name.
    pub fn named(&self, name: &str) -> Option<Interface> {
        self.by_name.get(name).and_then(|index| self.interface(*index))
    }

    fn has_address(&self, address: IpAddr) -> bool {
        let next = self.assigned.range(Assigned::least(address)..).next();
        next.is_some_and(|assigned| assigned.address == address)
    }

    fn set(&mut self, index: u32, facts: Facts) {
        let old = self.facts.get(&index);
        // Most notices are of what does not concern us.
        if old == Some(&facts) {
            return;
        }
        if old.is_none_or(|old| old.mac != facts.mac) {
            // Its ports, if it is a bridge, address frames to it.
            let ports: Vec<_> = self.ports.range((index, 0)..=(index, u32::MAX)).copied().collect();
            ports.into_iter().for_each(|(_, port)| self.mark(port));
        }
        self.unlink(index);
        self.by_name.insert(facts.name.clone(), index);
        self.ports.extend(facts.bridge.map(|bridge| (bridge, index)));
        self.facts.insert(index, facts);
        self.mark(index);
    }

    fn mark(&mut self, index: u32) {
        self.changed.entry(index).or_default();
        if self.facts.get(&index).is_some_and(|facts| facts.is_up) {
            self.urgent.insert(index);
        } else {
            self.urgent.remove(&index);
        }
    }

    fn remove(&mut self, index: u32) {
        if let Some(facts) = self.unlink(index) {
            self.urgent.remove(&index);
            self.changed.insert(index, Some(facts.name));
        }
    }

    fn unlink(&mut self, index: u32) -> Option<Facts> {
        let facts = self.facts.remove(&index)?;
        // Of two that exchange their names, the first to be told of has taken the second's already.
        if self.by_name.get(&facts.name) == Some(&index) {
            self.by_name.remove(&facts.name);
        }
        if let Some(bridge) = facts.bridge {
            self.ports.remove(&(bridge, index));
        }
        Some(facts)
    }
}

/// Whether a notice is of an interface as such. A bridge tells of its ports under its own family, also that one is
/// deleted, which is then still there (net/bridge/br_netlink.c, br_ifinfo_notify).
fn is_whole(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}
