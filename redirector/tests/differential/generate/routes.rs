//! Sets of routes that get in each other's way: few ports and prefixes, nested.

use fastrand::Rng;
use redirector::routes::{
    NextHop, Origin, PROTECT, PortRange, Protected, ProxyAddress, Route, Target, built_in, own_ports,
};
use redirector_common::{Protocol, entries::OnUnavailable};

use super::{
    addresses::{PORTS, PREFIXES},
    percent, pick,
};

/// Names of the interfaces that routes lead to.
pub mod interface {
    /// Has Ethernet headers.
    pub const HOP: &str = "hop";
    /// Has none.
    pub const BARE: &str = "bare";
    /// Does not exist.
    pub const GONE: &str = "gone";
}

/// Routes of several origins, the built-in ones included. Some may tie.
pub fn routes(rng: &mut Rng) -> Vec<(Origin, Vec<Route>)> {
    let origins = [Origin::CommandLine, Origin::Files, Origin::Api];
    let mut sets = origins.map(|origin| (origin, Vec::new())).to_vec();
    // Ranges of ten thousands of ports take time.
    let wide = percent(rng, 20);
    for number in 0..rng.usize(4..16) {
        if let Some(route) = route(rng, number, wide) {
            let (_, routes) = &mut sets[if percent(rng, 70) { 0 } else { rng.usize(..3) }];
            routes.push(route);
        }
    }
    let protect = PROTECT.map(|text| text.parse::<Protected>().expect("a protected port"));
    let own: Vec<_> = own_ports(sets.iter().flat_map(|(_, routes)| routes)).collect();
    sets.push((Origin::BuiltIn, built_in(&protect, own)));
    sets
}

fn route(rng: &mut Rng, number: usize, wide: bool) -> Option<Route> {
    let protocol = if percent(rng, 60) { Protocol::Tcp } else { Protocol::Udp };
    let ports = (0..rng.usize(1..4)).map(|_| range(rng, wide)).collect();
    let (destinations, sources) = (prefixes(rng, 60), prefixes(rng, 30));
    let on_unavailable = pick(rng, &[OnUnavailable::Pass, OnUnavailable::Drop, OnUnavailable::Reset]);
    let name = format!("r{number}");
    Route { name, protocol, ports, destinations, sources, target: target(rng), on_unavailable }
        .canonical()
        .ok()
}

fn range(rng: &mut Rng, wide: bool) -> PortRange {
    let (first, last) = match rng.u8(..20) {
        0..12 => (pick(rng, PORTS), None),
        12..16 => (8000 + rng.u16(..100), Some(8000 + rng.u16(..100))),
        16 | 17 => (9000, Some(9099)),
        18 if wide => (1, Some(65535)),
        19 if wide => (pick(rng, PORTS), Some(pick(rng, PORTS))),
        _ => (15000, Some(15060)),
    };
    let last = last.unwrap_or(first);
    PortRange::new(first.min(last), first.max(last)).expect("no port here is zero")
}

fn prefixes(rng: &mut Rng, often: u8) -> Vec<ipnet::IpNet> {
    let count = if percent(rng, often) { rng.usize(1..4) } else { 0 };
    (0..count).map(|_| pick(rng, PREFIXES).parse().expect("a prefix")).collect()
}

fn target(rng: &mut Rng) -> Target {
    let proxy = |text: &str, port| Target::Proxy(ProxyAddress::at(text.parse().expect("an address"), port));
    let hop = |interface: &str, via: Option<&str>| {
        let via = via.map(|via| via.parse().expect("an address"));
        Target::Interface(NextHop { interface: interface.to_owned(), via })
    };
    match rng.u8(..20) {
        0..6 => Target::Proxy(ProxyAddress::loopback(15001)),
        6..10 => Target::Proxy(ProxyAddress::loopback(pick(
            rng,
            &[15002, 15003, 15004, 15005, 15006, 15054, 15055, 15057],
        ))),
        10 => proxy("127.0.0.1", 15006),
        11 => proxy("::1", 15001),
        // The node's own server.
        12 => proxy("10.0.1.1", 8080),
        13 => hop(interface::HOP, None),
        14 => hop(interface::HOP, Some(pick(rng, &["10.0.9.2", "2001:db8:9::2"]))),
        15 => hop(interface::BARE, None),
        16 => hop(interface::GONE, None),
        17 => Target::Drop,
        _ => Target::Pass,
    }
}
