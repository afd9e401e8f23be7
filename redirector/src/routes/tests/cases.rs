//! Routes and packets by example.

use redirector_common::entries::{OnUnavailable, RouteKind};

use super::{Index, Origin, RouteSets, compiled, files, flow, route, tcp, winner};
use crate::routes::{PROTECT, Protected, Route, built_in, own_ports};

/// Asserts which of the routes wins for packets, each as source, destination, port and the route's name.
#[track_caller]
fn wins(routes: &[&str], packets: &[(&str, &str, u16, Option<&str>)]) {
    let compiled = compiled(&files(routes));
    for &(source, destination, port, name) in packets {
        let packet = tcp(source, destination, port);
        assert_eq!(winner(&compiled, packet), name, "{packet:?}");
    }
}

#[test]
fn exclusion_of_equal_destination_cuts_into_a_range_and_a_shorter_destination_does_not() {
    let v4 = [
        "mesh:10.96.0.0/12:1-65535=proxy:15001",
        "ssh:10.96.0.0/12:22=pass",
        "ftp:9000-9100=drop",
        "tls:10.96.3.4:443=drop",
    ];
    wins(
        &v4,
        &[
            ("192.0.2.1", "10.96.3.4", 22, Some("ssh")),
            ("192.0.2.1", "10.96.3.4", 9050, Some("mesh")),
            ("192.0.2.1", "10.112.3.4", 9050, Some("ftp")),
            ("192.0.2.1", "10.96.3.4", 443, Some("tls")),
            ("192.0.2.1", "10.96.3.4", 444, Some("mesh")),
            ("192.0.2.1", "10.96.3.5", 443, Some("mesh")),
            ("192.0.2.1", "10.96.3.4", 65535, Some("mesh")),
            ("192.0.2.1", "10.112.3.4", 22, None),
            ("2001:db8::1", "fd00::3:4", 9050, Some("ftp")),
            ("2001:db8::1", "fd00::3:4", 22, None),
        ],
    );
    let v6 = [
        "mesh:[fd00:96::/32]:1-65535=proxy:15001",
        "ssh:[fd00:96::/32]:22=pass",
        "ftp:9000-9100=drop",
        "tls:[fd00:96::3:4]:443=drop",
    ];
    wins(
        &v6,
        &[
            ("2001:db8::1", "fd00:96::3:4", 22, Some("ssh")),
            ("2001:db8::1", "fd00:96::3:4", 9050, Some("mesh")),
            ("2001:db8::1", "fd00:97::3:4", 9050, Some("ftp")),
            ("2001:db8::1", "fd00:96::3:4", 443, Some("tls")),
            ("2001:db8::1", "fd00:96::3:4", 444, Some("mesh")),
            ("2001:db8::1", "fd00:97::3:4", 22, None),
            ("192.0.2.1", "10.96.3.4", 22, None),
        ],
    );
}

#[test]
fn exclusion_without_destination_does_not_cut_into_a_route_with_one() {
    let routes = ["mesh:10.96.0.0/12:1-65535=proxy:15001", "ssh:22=pass"];
    wins(
        &routes,
        &[("192.0.2.1", "10.96.3.4", 22, Some("mesh")), ("192.0.2.1", "10.0.0.1", 22, Some("ssh"))],
    );
}

#[test]
fn longer_source_wins_within_a_destination() {
    let v4 = [
        "a:10.96.0.10:443=drop from 10.1.0.0/16",
        "b:10.96.0.10:443=drop from 10.1.2.0/24",
        "w:10.96.0.0/12:443=drop",
    ];
    wins(
        &v4,
        &[
            ("10.1.2.3", "10.96.0.10", 443, Some("b")),
            ("10.1.9.9", "10.96.0.10", 443, Some("a")),
            ("10.2.0.1", "10.96.0.10", 443, Some("w")),
            ("10.1.2.3", "10.96.0.11", 443, Some("w")),
        ],
    );
    let v6 = [
        "a:[fd00::10]:443=drop from fd01::/16",
        "b:[fd00::10]:443=drop from fd01:2::/32",
        "w:[fd00::/16]:443=drop",
    ];
    wins(
        &v6,
        &[
            ("fd01:2::3", "fd00::10", 443, Some("b")),
            ("fd01:9::9", "fd00::10", 443, Some("a")),
            ("fd02::1", "fd00::10", 443, Some("w")),
        ],
    );
}

#[test]
fn route_that_goes_uncovers_what_it_shadowed() {
    let (a, b, w) = (
        "a:10.96.0.10:443=drop from 10.1.0.0/16",
        "b:10.96.0.10:443=drop from 10.1.2.0/24",
        "w:10.96.0.0/12:443=drop",
    );
    let sources = ["10.1.2.3", "10.1.9.9", "10.2.0.1"];
    wins(&[w], &sources.map(|source| (source, "10.96.0.10", 443, Some("w"))));
    wins(&[a, b], &[("10.1.2.3", "10.96.0.10", 443, Some("b")), ("10.2.0.1", "10.96.0.10", 443, None)]);
}

#[test]
fn longer_destination_decides_before_a_longer_source() {
    let routes = ["near:10.96.0.0/24:80=drop from 10.0.0.0/8", "far:10.96.0.0/12:80=drop from 10.1.2.3"];
    wins(
        &routes,
        &[
            ("10.1.2.3", "10.96.0.1", 80, Some("near")),
            ("10.1.2.3", "10.96.1.1", 80, Some("far")),
            ("10.1.2.4", "10.96.1.1", 80, None),
            ("192.0.2.1", "10.96.0.1", 80, None),
        ],
    );
}

#[test]
fn earlier_origin_wins_only_where_the_match_is_equal() {
    let sets = RouteSets::from([
        (Origin::CommandLine, vec![route("cli:80=drop")]),
        (
            Origin::Kubernetes,
            vec![route("wide:80-81=drop"), route("same:80=drop"), route("host:10.0.0.1:80=drop")],
        ),
    ]);
    let compiled = compiled(&sets);
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.2", 80)), Some("cli"));
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.1", 80)), Some("host"));
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.2", 81)), Some("wide"));
    assert_eq!(compiled.routes.len(), 4, "an overridden route has its slot too");
}

#[test]
fn proxy_route_leaves_out_the_proxys_own_port() {
    let routes = ["mesh:10.0.0.0/8:15000-15002=proxy:15001", "rest:15001=drop"];
    wins(
        &routes,
        &[
            ("192.0.2.1", "10.0.0.1", 15000, Some("mesh")),
            ("192.0.2.1", "10.0.0.1", 15001, Some("rest")),
            ("192.0.2.1", "10.0.0.1", 15002, Some("mesh")),
        ],
    );
    // A range of which one port is left still ranks as a range.
    wins(
        &["pair:15001-15002=proxy:15001", "one:15002=drop"],
        &[("192.0.2.1", "10.0.0.1", 15002, Some("one"))],
    );
}

#[test]
fn proxy_of_one_family_takes_packets_of_that_family_only() {
    wins(
        &["four:80=proxy:127.0.0.1:15001", "six:80=proxy:[::1]:15006"],
        &[("192.0.2.1", "10.0.0.1", 80, Some("four")), ("2001:db8::1", "fd00::1", 80, Some("six"))],
    );
}

#[test]
fn built_in_routes_pass_what_is_protected_and_every_proxys_port() {
    let routes =
        [route("1-65535=proxy:15001"), route("10.0.0.1:22=drop"), route("dns:udp/10.0.0.1:53=proxy:15053")];
    let protect = PROTECT.map(|text| text.parse::<Protected>().expect(text));
    let passes = built_in(&protect, own_ports(&routes));
    let texts: Vec<_> = passes.iter().map(Route::to_string).collect();
    assert_eq!(texts, ["tcp/22=pass", "tcp/6443=pass", "tcp/10250=pass", "tcp/15001=pass", "udp/15053=pass"]);

    let sets = RouteSets::from([(Origin::CommandLine, routes.to_vec()), (Origin::BuiltIn, passes)]);
    let compiled = compiled(&sets);
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.2", 22)), Some("tcp/22"));
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.1", 22)), Some("tcp/10.0.0.1:22"));
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.2", 15001)), Some("tcp/15001"));
    assert_eq!(winner(&compiled, tcp("192.0.2.1", "10.0.0.2", 15002)), Some("tcp/1-65535"));
}

#[test]
fn port_without_condition_on_addresses_needs_no_prefix() {
    let compiled = compiled(&files(&["all:1-65535=proxy:15001", "ssh:22=pass", "web:10.0.0.0/8:80=drop"]));
    let direct = |port| Index::new(&compiled).word(&flow(tcp("192.0.2.1", "10.0.0.1", port))).as_direct();
    assert_eq!((direct(443), direct(22), direct(80)), (Some(0), Some(1), None));
    // Port 80 over IPv4 alone: its destination, and the class for all others.
    assert_eq!(compiled.prefixes.len(), 2);
}

#[test]
fn range_is_one_class_however_many_ports_lie_in_it() {
    let ports: Vec<_> = (1..1000).map(|n| format!("10.0.0.1:{}=drop", n * 60)).collect();
    let texts: Vec<_> = ports.iter().map(String::as_str).chain(["10.0.0.0/8:1-65535=pass"]).collect();
    assert_eq!(compiled(&files(&texts)).prefixes.len(), 999 + 1);
}

#[test]
fn ports_under_the_same_ranges_share_a_class_wherever_they_are() {
    let routes = ["all:10.0.0.0/8:1-65535=pass", "some:10.0.0.0/8:100-109,200-209,300-309=drop"];
    assert_eq!(compiled(&files(&routes)).prefixes.len(), 2);
}

#[test]
fn pods_with_all_ports_take_one_entry_each() {
    let pods: Vec<_> = (1..=150).map(|n| format!("10.244.0.{n}:1-65535=proxy:15001")).collect();
    let texts: Vec<_> = pods.iter().map(String::as_str).collect();
    assert_eq!(compiled(&files(&texts)).prefixes.len(), 150);
}

#[test]
fn services_take_one_entry_for_each_port() {
    let services: Vec<_> =
        (0..1000).map(|n| format!("10.96.{}.{}:8000,8001,8002=proxy:15001", n / 250, n % 250)).collect();
    let texts: Vec<_> = services.iter().map(String::as_str).collect();
    let compiled = compiled(&files(&texts));
    assert_eq!((compiled.prefixes.len(), compiled.sources.len(), compiled.proxies.len()), (3000, 0, 1));
}

#[test]
fn equal_source_tables_are_shared() {
    let compiled = compiled(&files(&["10.0.0.1,10.0.0.2:80,443=drop from 10.1.0.0/16,10.2.0.0/16"]));
    assert_eq!((compiled.prefixes.len(), compiled.sources.len()), (4, 2));
}

#[test]
fn slots_hold_what_each_route_says_and_equal_proxies_once() {
    let compiled = compiled(&files(&[
        "a:80=proxy:15001",
        "b:81=pass",
        "c:82=drop",
        "d:83=proxy:15006 else drop",
        "e:84=proxy:127.0.0.1,[::1]:15001",
        "f:85=interface:veth7 else reset",
        "g:86=interface:veth7 via 10.0.0.1",
        "h:87=interface:veth7",
    ]));
    let slots: Vec<_> = compiled
        .routes
        .iter()
        .map(|slot| (slot.name.as_str(), slot.entry.kind, slot.entry.on_unavailable, slot.entry.target))
        .collect();
    let (proxy, pass, drop) = (RouteKind::Proxy as u8, RouteKind::Pass as u8, RouteKind::Drop as u8);
    let interface = RouteKind::Interface as u8;
    let [open, closed, reset] =
        [OnUnavailable::Pass, OnUnavailable::Drop, OnUnavailable::Reset].map(|on| on as u8);
    assert_eq!(
        slots,
        [
            ("a", proxy, open, 0),
            ("b", pass, open, 0),
            ("c", drop, open, 0),
            ("d", proxy, closed, 1),
            ("e", proxy, open, 0),
            ("f", interface, reset, 0),
            ("g", interface, open, 1),
            ("h", interface, open, 0)
        ]
    );
    assert_eq!(compiled.proxies.iter().map(|proxy| proxy.port).collect::<Vec<_>>(), [15001, 15006]);
    let via: Vec<_> = compiled.next_hops.iter().map(|hop| hop.via.map(|via| via.to_string())).collect();
    assert_eq!(via, [None, Some("10.0.0.1".to_owned())]);
}
