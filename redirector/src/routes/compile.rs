//! From sets of routes to the entries of the maps.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use redirector_common::{
    Address,
    entries::{NEXT_HOPS, PortWord, PrefixEntry, PrefixKey, ProxyEntry, RouteEntry, RouteKind},
};

use super::{Limits, NextHop, Origin, Proxy, Refusal, Route, Target, ports::Ports};

/// What stands in the maps for some sets of routes. The same sets give the same entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// `PORTS`: the words that are not zero, by ascending index.
    pub ports: Vec<(u32, PortWord)>,
    /// `PREFIXES`, by ascending key and then length.
    pub prefixes: Vec<Prefix>,
    /// `SOURCES`, by ascending key and then length.
    pub sources: Vec<Prefix>,
    /// `ROUTES`, by slot: every route in the order of the sets, also one that another overrides everywhere.
    pub routes: Vec<RouteSlot>,
    /// `PROXIES`, by slot: each once for a protocol, however many routes lead to it.
    pub proxies: Vec<ProxyEntry>,
    /// What `NEXT_HOPS` is about, by slot: each once.
    pub next_hops: Vec<NextHop>,
}

/// An entry of `PREFIXES` or `SOURCES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Bits of the key that a packet must match, scope and address together.
    pub bits: u32,
    /// Scope and address.
    pub key: PrefixKey,
    /// What is decided there.
    pub entry: PrefixEntry,
}

/// A slot of `ROUTES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSlot {
    /// Who gave the route.
    pub origin: Origin,
    /// Its name, unique within the origin.
    pub name: String,
    /// The entry.
    pub entry: RouteEntry,
}

/// The routes that each origin gives.
pub type RouteSets = BTreeMap<Origin, Vec<Route>>;

/// The entries of the maps for the routes of all origins.
///
/// # Errors
///
/// Every route that is wrong by itself or has the name of another; or else every tie, and what there is no
/// room for.
pub fn compile(sets: &RouteSets, limits: &Limits) -> Result<Compiled, Vec<Refusal>> {
    let routes: Vec<(Origin, &Route)> =
        sets.iter().flat_map(|(origin, routes)| routes.iter().map(|route| (*origin, route))).collect();
    let mut refusals = refuse(&routes, limits);
    if !refusals.is_empty() {
        return Err(refusals);
    }

    let Slots { routes: slots, proxies, next_hops } = slots(&routes);
    let mut ports = Ports::new(&routes, limits);
    let result = ports.fill();
    refusals.extend(ports.nodes.ties.into_values().map(Refusal::Tie));
    refusals.extend(result.err());
    refusals.extend(Refusal::limit("proxies", proxies.len(), limits.proxies));
    refusals.extend(Refusal::limit("next hops", next_hops.len(), NEXT_HOPS));
    refusals.extend(Refusal::limit("prefixes", ports.prefixes.len(), limits.prefixes));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(Compiled {
        ports: ports.words,
        prefixes: ports.prefixes,
        sources: ports.nodes.tables.entries,
        routes: slots,
        proxies,
        next_hops,
    })
}

/// What can be told of the routes before any is compiled.
fn refuse(routes: &[(Origin, &Route)], limits: &Limits) -> Vec<Refusal> {
    let mut names = HashSet::with_capacity(routes.len());
    let mut refusals =
        Vec::from_iter(Refusal::limit("routes", routes.len(), limits.routes.min(PortWord::NUMBERS)));
    for &(origin, route) in routes {
        let name = || route.name.clone();
        if let Err(error) = route.check() {
            refusals.push(Refusal::Route { origin, name: name(), error });
        }
        if !names.insert((origin, &route.name)) {
            refusals.push(Refusal::SameName { origin, name: name() });
        }
    }
    refusals
}

/// The entries of `ROUTES`, and to what they lead.
struct Slots {
    routes: Vec<RouteSlot>,
    proxies: Vec<ProxyEntry>,
    next_hops: Vec<NextHop>,
}

fn slots(routes: &[(Origin, &Route)]) -> Slots {
    let (mut proxies, mut next_hops) = (Vec::new(), Vec::new());
    let (mut proxy_slots, mut next_hop_slots) = (BTreeMap::new(), BTreeMap::new());
    let slots = routes.iter().map(|&(origin, route)| {
        let (kind, target) = match &route.target {
            Target::Pass => (RouteKind::Pass, 0),
            Target::Drop => (RouteKind::Drop, 0),
            Target::Proxy(proxy) => {
                let proxy = Proxy { protocol: route.protocol, at: *proxy };
                let slot = *proxy_slots.entry(proxy).or_insert_with(|| {
                    proxies.push(proxy_entry(&proxy));
                    proxies.len() as u32 - 1
                });
                (RouteKind::Proxy, slot)
            }
            Target::Interface(hop) => {
                let slot = *next_hop_slots.entry(hop).or_insert_with(|| {
                    next_hops.push(hop.clone());
                    next_hops.len() as u32 - 1
                });
                (RouteKind::Interface, slot)
            }
        };
        let on_unavailable = route.on_unavailable as u8;
        let entry = RouteEntry { kind: kind as u8, on_unavailable, pad: 0, target };
        RouteSlot { origin, name: route.name.clone(), entry }
    });
    Slots { routes: slots.collect(), proxies, next_hops }
}

pub(crate) fn proxy_entry(proxy: &Proxy) -> ProxyEntry {
    let Proxy { protocol, at } = proxy;
    let address = |address: Option<IpAddr>| address.map(wire_order).unwrap_or_default();
    ProxyEntry {
        v4: address(at.v4.map(IpAddr::V4)),
        v6: address(at.v6.map(IpAddr::V6)),
        port: at.port,
        protocol: *protocol as u8,
        pad: 0,
    }
}

impl Prefix {
    /// The entry of a prefix within a scope.
    pub(super) fn new(scope: u32, prefix: &IpNet, entry: PrefixEntry) -> Self {
        let bits = PrefixKey::SCOPE_BITS + u32::from(prefix.prefix_len());
        Self { bits, key: PrefixKey::new(scope, wire_order(prefix.addr())), entry }
    }
}

fn wire_order(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address::v6(v6.octets()),
    }
}
