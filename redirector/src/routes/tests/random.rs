//! Any routes and any packet: the entries give what the oracle gives. The routes are dense, so that they do
//! get in each other's way: few prefixes, nested, few ports, overlapping ranges.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use proptest::{collection::vec, prelude::*, sample::select};
use redirector_common::{
    Protocol,
    entries::{OnUnavailable, Space},
};

use super::{Compiled, Index, Limits, Origin, Packet, Route, RouteSets, compile, flow, oracle::Oracle};
use crate::routes::{NextHop, PortRange, ProxyAddress, Refusal, Target};

const V4: [&str; 8] = [
    "0.0.0.0/0",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.96.0.0/12",
    "10.96.4.0/24",
    "10.96.4.4/32",
    "10.96.4.5/32",
    "192.0.2.0/24",
];
const V6: [&str; 6] =
    ["::/0", "fd00::/8", "fd00:96::/32", "fd00:96::4:0/112", "fd00:96::4:4/128", "2001:db8::/32"];
const PORTS: [u16; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
pub(super) const ORIGINS: [Origin; 3] = [Origin::CommandLine, Origin::Kubernetes, Origin::BuiltIn];

fn prefixes() -> impl Strategy<Value = Vec<IpNet>> {
    let of = |texts: &'static [&'static str]| vec(select(texts), 0..3);
    prop_oneof![
        2 => Just(Vec::new()),
        4 => of(&V4),
        2 => of(&V6),
        1 => (of(&V4), of(&V6)).prop_map(|(v4, v6)| [v4, v6].concat()),
    ]
    .prop_map(|texts| texts.iter().map(|text| text.parse().expect("a prefix")).collect())
}

fn range() -> impl Strategy<Value = PortRange> {
    let port = || select(&PORTS[..]);
    prop_oneof![
        20 => port().prop_map(|port| (port, port)),
        40 => (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        1 => port().prop_map(|port| (port, 65535)),
    ]
    .prop_map(|(first, last)| PortRange::new(first, last).expect("a range"))
}

pub(super) fn target() -> impl Strategy<Value = Target> {
    let proxy =
        |address: &str, port| Target::Proxy(ProxyAddress::at(address.parse().expect("an address"), port));
    prop_oneof![
        3 => select(vec![3, 6, 15001]).prop_map(|port| Target::Proxy(ProxyAddress::loopback(port))),
        1 => Just(proxy("127.0.0.1", 4)),
        1 => Just(proxy("fd00::1", 15001)),
        1 => Just(Target::Proxy(ProxyAddress {
            v4: Some([10, 0, 0, 1].into()),
            v6: Some([0xfd00, 0, 0, 0, 0, 0, 0, 1].into()),
            port: 15006,
        })),
        2 => Just(Target::Pass),
        1 => Just(Target::Drop),
        1 => Just(next_hop(None)),
        1 => select(vec!["10.0.0.1", "fd00::1"]).prop_map(|via| next_hop(Some(via))),
    ]
}

fn next_hop(via: Option<&str>) -> Target {
    let via = via.map(|via| via.parse().expect("an address"));
    Target::Interface(NextHop { interface: "veth7".to_owned(), via })
}

/// A sound route, named or not.
pub(crate) fn any_route() -> impl Strategy<Value = Route> {
    let on_unavailable = prop_oneof![
        3 => Just(OnUnavailable::Pass),
        1 => Just(OnUnavailable::Drop),
        1 => Just(OnUnavailable::Reset),
    ];
    let name = prop_oneof![1 => Just(String::new()), 1 => "[a-zA-Z][a-zA-Z0-9.-]{0,5}"];
    (name, protocol(), vec(range(), 1..4), prefixes(), prefixes(), target(), on_unavailable).prop_filter_map(
        "unsound",
        |(name, protocol, ports, destinations, sources, target, on_unavailable)| {
            Route { name, protocol, ports, destinations, sources, target, on_unavailable }.canonical().ok()
        },
    )
}

/// Sets of routes, each with a name of its own. They may tie.
fn sets() -> impl Strategy<Value = RouteSets> {
    vec((select(&ORIGINS[..]), any_route()), 1..14).prop_map(|routes| {
        let mut sets = RouteSets::new();
        for (i, (origin, route)) in routes.into_iter().enumerate() {
            sets.entry(origin).or_default().push(Route { name: format!("r{i}"), ..route });
        }
        sets
    })
}

/// The sets without one route of each two that tie.
fn without_ties(mut sets: RouteSets) -> RouteSets {
    let tied: HashSet<u32> = Oracle::new(&sets).ties().map(|(_, slot)| slot).collect();
    let mut slots = 0..;
    for routes in sets.values_mut() {
        routes.retain(|_| slots.next().is_some_and(|slot| !tied.contains(&slot)));
    }
    sets
}

/// Packets of each combination of port, destination and source that routes can tell apart.
pub(super) fn packets(protocol: Protocol) -> impl Iterator<Item = Packet> {
    // The first address of a prefix is in none of those that it contains.
    let addresses = |texts: &[&str]| -> Vec<IpAddr> {
        let prefixes = texts.iter().map(|text| text.parse::<IpNet>().expect("a prefix"));
        prefixes.map(|prefix| prefix.addr()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    [addresses(&V4), addresses(&V6)].into_iter().flat_map(move |addresses| {
        let ports = PORTS.into_iter().chain([9, 15001, 65535]);
        ports.flat_map(move |port| {
            let addresses = addresses.clone();
            (0..addresses.len() * addresses.len()).map(move |i| {
                let (destination, source) = (addresses[i / addresses.len()], addresses[i % addresses.len()]);
                Packet { protocol, source, destination, port }
            })
        })
    })
}

pub(super) fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![4 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)]
}

proptest! {
    #[test]
    fn entries_give_what_brute_force_gives(sets in sets(), protocol in protocol()) {
        let sets = without_ties(sets);
        let compiled = compile(&sets, &Limits::default()).expect("no ties");
        let (index, oracle) = (Index::new(&compiled), Oracle::new(&sets));
        let names = |slot: Option<u32>| slot.map(|slot| &compiled.routes[slot as usize].name);
        for packet in packets(protocol) {
            let (given, wanted) = (index.route(&flow(packet)), oracle.route(packet));
            prop_assert_eq!(names(given), names(wanted), "{:?}", packet);
        }
    }

    #[test]
    fn sets_are_refused_exactly_when_two_routes_tie(sets in sets()) {
        let tied: BTreeSet<(u32, u32)> = Oracle::new(&sets).ties().collect();
        let names: Vec<&String> = sets.values().flatten().map(|route| &route.name).collect();
        match compile(&sets, &Limits::default()) {
            Ok(_) => prop_assert!(tied.is_empty(), "{:?}", tied),
            Err(refusals) => for refusal in refusals {
                let Refusal::Tie(tie) = &refusal else { panic!("{refusal}") };
                let is_named = |(a, b): &(u32, u32)| *names[*a as usize] == tie.names[0] && *names[*b as usize] == tie.names[1];
                prop_assert!(tied.iter().any(is_named), "{}", refusal);
            },
        }
    }

    #[test]
    fn a_port_is_marked_exactly_where_a_route_of_the_kind_names_it(sets in sets(), protocol in protocol()) {
        let sets = without_ties(sets);
        let compiled = compile(&sets, &Limits::default()).expect("no ties");
        let index = Index::new(&compiled);
        for packet in packets(protocol) {
            let v4 = packet.destination.is_ipv4();
            let named = |route: &Route| {
                let family = |prefixes: &[IpNet]| prefixes.is_empty() || prefixes.iter().any(|p| p.addr().is_ipv4() == v4);
                let ports = route.ports.iter().any(|ports| (ports.first()..=ports.last()).contains(&packet.port));
                route.protocol == packet.protocol
                    && ports && family(&route.destinations) && family(&route.sources)
            };
            let steered = sets.values().flatten().any(|route| {
                let Target::Proxy(proxy) = &route.target else { return false };
                named(route) && proxy.port != packet.port
                    && if v4 { proxy.v4.is_some() } else { proxy.v6.is_some() }
            });
            let forwarded = sets.values().flatten().any(|route| {
                let Target::Interface(hop) = &route.target else { return false };
                named(route) && (v4 || hop.via.is_none_or(|via| via.is_ipv6()))
            });
            let word = index.word(&flow(packet));
            prop_assert_eq!((word.is_steered(), word.is_forwarded()), (steered, forwarded), "{:?}", packet);
        }
    }

    #[test]
    fn entries_are_the_same_each_time_and_none_is_without_use(sets in sets()) {
        let sets = without_ties(sets);
        let compiled = compile(&sets, &Limits::default()).expect("no ties");
        prop_assert_eq!(&compile(&sets, &Limits::default()).expect("no ties"), &compiled);
        prop_assert!(compiled.ports.is_sorted_by_key(|(index, _)| index));
        for prefixes in [&compiled.prefixes, &compiled.sources] {
            let keys: HashSet<_> = prefixes.iter().map(|prefix| (prefix.key, prefix.bits)).collect();
            prop_assert_eq!(keys.len(), prefixes.len(), "a key twice");
        }
        prop_assert_eq!(named_spaces(&compiled), compiled.prefixes.iter().map(|prefix| prefix.key.scope).collect());
        let tables = compiled.prefixes.iter().filter(|prefix| prefix.entry.is_table());
        prop_assert_eq!(
            tables.map(|prefix| prefix.entry.number()).collect::<BTreeSet<_>>(),
            compiled.sources.iter().map(|prefix| prefix.key.scope).collect()
        );
    }

    #[test]
    fn a_route_is_what_its_text_says(route in any_route()) {
        let text = route.to_string();
        let read: Route = text.parse().expect("canonical text");
        prop_assert_eq!(&read, &route);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "([a-z]{0,3}:)?(tcp/|udp/|[a-z/]{0,3})?[0-9.:,\\[\\]/é-]{0,12}(=| )[a-z0-9:.,\\[\\] ]{0,20}") {
        if let Err(error) = text.parse::<Route>() {
            prop_assert!(error.column().is_some_and(|column| column <= text.chars().count() + 1));
            let _ = error.to_string();
        }
    }
}

/// The spaces that words of `PORTS` lead to.
fn named_spaces(compiled: &Compiled) -> BTreeSet<u32> {
    let spaces = compiled.ports.iter().flat_map(|(index, word)| {
        // A port's word and its own space have the same number.
        let single = word.has_single().then_some(*index);
        single.into_iter().chain(word.class().map(|class| Space::class(class).0))
    });
    spaces.collect()
}
