//! The interfaces of the network namespace.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoPortKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
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
    let facts = facts()?;
    let macs = |bridge| facts.get(&bridge).and_then(|bridge: &Facts| bridge.mac);
    Ok(facts.iter().map(|(index, facts)| facts.interface(*index, macs)).collect())
}

/// What the kernel tells of one interface. A port's kind of link takes its bridge's MAC address as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub name: String,
    /// Whether it is up, with a carrier or without.
    pub is_up: bool,
    /// The bridge that it is a port of.
    pub bridge: Option<u32>,
    pub mac: Option<[u8; 6]>,
    is_running: bool,
    is_ethernet: bool,
    unsupported: Option<&'static str>,
}

impl Facts {
    pub fn read(message: &LinkMessage) -> Option<Self> {
        let header = &message.header;
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
        let is_ethernet = header.link_layer_type == LinkLayerType::Ether;
        let unsupported = if header.flags.contains(LinkFlags::Loopback) {
            Some("it is the loopback device: what the host sends to itself is never redirected")
        } else if !is_ethernet && !is_layer3(header.link_layer_type) {
            Some("its packets begin with neither an Ethernet nor an IP header")
        } else {
            None
        };
        Some(Self {
            name,
            is_up: header.flags.contains(LinkFlags::Up),
            bridge: bridge(message),
            mac: mac(message),
            is_running: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            is_ethernet,
            unsupported,
        })
    }

    /// The whole of it, with the MAC addresses of bridges.
    pub fn interface(&self, index: u32, macs: impl Fn(u32) -> Option<[u8; 6]>) -> Interface {
        let link = match self.bridge.and_then(macs) {
            Some(mac) => Link::BridgePort(mac),
            None if self.is_ethernet => Link::Ethernet,
            None => Link::Layer3,
        };
        let (name, is_running, unsupported) = (self.name.clone(), self.is_running, self.unsupported);
        Interface { index, name, link, is_running, unsupported }
    }
}

/// What the kernel tells of all interfaces, by ifindex.
pub(super) fn facts() -> Result<BTreeMap<u32, Facts>> {
    let mut request = LinkMessage::default();
    // Counters are most of an answer, and nobody reads them.
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut all = BTreeMap::new();
    netlink::dump_each(RouteNetlinkMessage::GetLink(request), |answer| {
        let Some(answer) = answer else { return all.clear() };
        if let RouteNetlinkMessage::NewLink(message) = answer
            && let Some(facts) = Facts::read(&message)
        {
            all.insert(message.header.index, facts);
        }
    })
    .context("list interfaces")?;
    Ok(all)
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
