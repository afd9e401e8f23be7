//! The addresses of the network namespace.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
};

use super::netlink;

/// All addresses of the calling thread's network namespace.
///
/// # Errors
///
/// The kernel's.
pub fn addresses() -> Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = assigned()?.into_iter().map(|assigned| assigned.address).collect();
    addresses.dedup();
    Ok(addresses)
}

/// An address on an interface. The same one may be there with another prefix or another peer, and on other interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Assigned {
    pub address: IpAddr,
    ifindex: u32,
    prefix: u8,
    /// On a point-to-point link the other end's.
    peer: Option<IpAddr>,
}

impl Assigned {
    pub fn read(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut peer) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                // On a point-to-point link `Address` is the other end's, and `Local` ours.
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => peer = Some(*address),
                _ => {}
            }
        }
        let (ifindex, prefix) = (message.header.index, message.header.prefix_len);
        Some(Self { address: local.or(peer)?, ifindex, prefix, peer })
    }

    /// Before any other of this address.
    pub fn least(address: IpAddr) -> Self {
        Self { address, ifindex: 0, prefix: 0, peer: None }
    }
}

/// All addresses on all interfaces.
pub(super) fn assigned() -> Result<BTreeSet<Assigned>> {
    let mut all = BTreeSet::new();
    netlink::dump_each(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |answer| {
        let Some(answer) = answer else { return all.clear() };
        if let RouteNetlinkMessage::NewAddress(message) = answer {
            all.extend(Assigned::read(&message));
        }
    })
    .context("list addresses")?;
    Ok(all)
}
