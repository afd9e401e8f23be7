//! The addresses of the network namespace.

use std::net::IpAddr;

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
    let messages = netlink::dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .context("list addresses")?;
    let mut addresses: Vec<IpAddr> = messages.into_iter().filter_map(address).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

fn address(message: RouteNetlinkMessage) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let mut peer = None;
    for attribute in message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the other end's, and `Local` ours.
            AddressAttribute::Local(address) => return Some(address),
            AddressAttribute::Address(address) => peer = Some(address),
            _ => {}
        }
    }
    peer
}
