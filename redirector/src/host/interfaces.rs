//! The interfaces of the network namespace.

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
};

use super::netlink;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, unique in the network namespace while it exists.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Why its traffic cannot be redirected, if that is so.
    pub unsupported: Option<&'static str>,
}

/// All interfaces of the calling thread's network namespace, in the order of their numbers.
///
/// # Errors
///
/// The kernel's.
pub fn interfaces() -> Result<Vec<Interface>> {
    let links =
        netlink::dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).context("list interfaces")?;
    Ok(links.into_iter().filter_map(interface).collect())
}

fn interface(message: RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(link) = message else { return None };
    let name = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })?;
    let unsupported = if link.header.flags.contains(LinkFlags::Loopback) {
        Some("it is the loopback device: what the host sends to itself is never redirected")
    } else if link.header.link_layer_type != LinkLayerType::Ether {
        Some("its packets have no Ethernet header")
    } else {
        None
    };
    Some(Interface { index: link.header.index, name, unsupported })
}
