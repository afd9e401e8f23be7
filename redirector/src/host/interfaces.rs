//! The interfaces of the network namespace.

use std::collections::HashMap;

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
};

use super::netlink;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, unique in the network namespace while it exists.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// What its packets begin with.
    pub link: Link,
    /// Whether it can send: it is up and has a carrier.
    pub is_running: bool,
    /// Why its traffic cannot be redirected, if that is so.
    pub unsupported: Option<&'static str>,
}

/// A kind of link: what a packet looks like that comes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// With an Ethernet header.
    Ethernet,
    /// With an Ethernet header, at a port of a bridge, which has this MAC address.
    BridgePort([u8; 6]),
    /// With the IP header.
    Layer3,
}

/// All interfaces of the calling thread's network namespace, in the order of their numbers.
///
/// # Errors
///
/// The kernel's.
pub fn interfaces() -> Result<Vec<Interface>> {
    let answers =
        netlink::dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).context("list interfaces")?;
    let links: Vec<LinkMessage> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
        .collect();
    let macs = links.iter().filter_map(|link| Some((link.header.index, mac(link)?))).collect();
    Ok(links.iter().filter_map(|link| interface(link, &macs)).collect())
}

fn interface(message: &LinkMessage, macs: &HashMap<u32, [u8; 6]>) -> Option<Interface> {
    let header = &message.header;
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let unsupported = if header.flags.contains(LinkFlags::Loopback) {
        Some("it is the loopback device: what the host sends to itself is never redirected")
    } else if !matches!(header.link_layer_type, LinkLayerType::Ether) && !is_layer3(header.link_layer_type) {
        Some("its packets begin with neither an Ethernet nor an IP header")
    } else {
        None
    };
    let link = match bridge(message).and_then(|bridge| macs.get(&bridge)) {
        Some(mac) => Link::BridgePort(*mac),
        None if header.link_layer_type == LinkLayerType::Ether => Link::Ethernet,
        None => Link::Layer3,
    };
    let is_running = header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Some(Interface { index: header.index, name, link, is_running, unsupported })
}

/// Whether packets begin with the IP header where programs see them: tun and WireGuard (which have no type), mobile modems,
/// PPP, and tunnels of IP in IP.
fn is_layer3(kind: LinkLayerType) -> bool {
    use LinkLayerType as Kind;
    matches!(kind, Kind::None | Kind::Rawip | Kind::Ppp | Kind::Tunnel | Kind::Tunnel6 | Kind::Sit)
}

/// The bridge that an interface is a port of.
fn bridge(message: &LinkMessage) -> Option<u32> {
    let is_port = message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.contains(&LinkInfo::PortKind(InfoPortKind::Bridge)),
        _ => false,
    });
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(controller) if is_port => Some(*controller),
        _ => None,
    })
}

fn mac(message: &LinkMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address[..].try_into().ok(),
        _ => None,
    })
}
