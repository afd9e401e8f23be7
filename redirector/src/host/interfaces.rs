//! The interfaces of the network namespace.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoKind, InfoPortKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType,
        LinkMessage,
    },
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
        Some(Self {
            name,
            is_up: header.flags.contains(LinkFlags::Up),
            bridge: bridge(message),
            mac: mac(message),
            is_running: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            is_ethernet: header.link_layer_type == LinkLayerType::Ether,
            unsupported: unsupported(message),
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

/// Why programs cannot read an interface's packets as those of its kind of link, if that is so.
fn unsupported(message: &LinkMessage) -> Option<&'static str> {
    use LinkLayerType as Kind;
    let header = &message.header;
    if header.flags.contains(LinkFlags::Loopback) {
        return Some("it is the loopback device: what the host sends to itself is never redirected");
    }
    // Its connections belong to the VRF, where a look-up from the port does not find them (net/core/filter.c,
    // bpf_tc_skc_lookup_tcp: by the port's own number). The VRF's device has no ingress of its own.
    if is_vrf(message) || is_port(message, &InfoPortKind::Vrf) {
        return Some("it belongs to a VRF, whose connections programs at its ports do not find");
    }
    match header.link_layer_type {
        Kind::Ether => None,
        kind if is_layer3(kind) => None,
        _ => Some("its packets begin with neither an Ethernet nor an IP header"),
    }
}

/// Whether packets begin with the IP header where programs see them: tun and WireGuard (which have no type), mobile modems,
/// PPP, and tunnels that carry IP.
fn is_layer3(kind: LinkLayerType) -> bool {
    use LinkLayerType as Kind;
    matches!(
        kind,
        Kind::None
            | Kind::Rawip
            | Kind::Ppp
            | Kind::Tunnel
            | Kind::Tunnel6
            | Kind::Sit
            | Kind::Ipgre
            | Kind::Ip6gre
    )
}

/// The bridge that an interface is a port of.
fn bridge(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(controller) if is_port(message, &InfoPortKind::Bridge) => Some(*controller),
        _ => None,
    })
}

fn is_port(message: &LinkMessage, kind: &InfoPortKind) -> bool {
    infos(message).any(|info| matches!(info, LinkInfo::PortKind(port) if port == kind))
}

fn is_vrf(message: &LinkMessage) -> bool {
    infos(message).any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vrf)))
}

/// What is said of a link by its kind.
fn infos(message: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    let infos = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten()
}

fn mac(message: &LinkMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address[..].try_into().ok(),
        _ => None,
    })
}
