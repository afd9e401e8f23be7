//! Sets of routes that are refused, and what their user reads.

use super::{Limits, Origin, RouteSets, compiled, files, refused, route};
use crate::routes::{PortRange, Refusal, Route, compile};

fn refused_files(routes: &[&str]) -> Vec<String> {
    refused(&files(routes), &Limits::default())
}

#[test]
fn two_routes_of_one_origin_that_tie_are_refused_by_name() {
    let ties = [
        (&["a:80=drop", "b:80=pass"][..], "tcp/80"),
        (&["a:80,443=drop", "b:443=pass"], "tcp/443"),
        (&["a:10.0.0.0/8:80-90=drop", "b:10.0.0.0/8,11.0.0.0/8:85-95=pass"], "tcp/10.0.0.0/8:85-90"),
        (
            &["a:[fd00::1]:80=drop from fd01::/16", "b:[fd00::1]:80=pass from fd01::/16"],
            "tcp/[fd00::1]:80 from fd01::/16",
        ),
        (&["a:0.0.0.0/0:80=drop", "b:80=pass"], "tcp/80"),
        (&["a:80=proxy:15001", "b:80=pass from 0.0.0.0/0"], "tcp/80"),
        // A third route wins on port 80, but it may go.
        (&["a:80-81=drop", "b:80-81=pass", "c:80=pass", "d:81=pass"], "tcp/80-81"),
    ];
    for (routes, both) in ties {
        let message = format!("routes a and b (files) both match {both}, and neither is more specific there");
        assert_eq!(refused_files(routes), [message]);
    }
}

#[test]
fn each_pair_that_ties_is_told_once() {
    assert_eq!(refused_files(&["a:1-9,20,30=drop", "b:1-9,20,30=drop"]).len(), 1);
    assert_eq!(refused_files(&["a:1=drop", "b:1,2=drop", "c:2=drop"]).len(), 2);
}

#[test]
fn routes_that_something_decides_between_do_not_tie() {
    for routes in [
        &["a:80=drop", "b:80-81=drop"][..],
        &["a:80=drop", "b:udp/80=drop"],
        &["a:80-89=drop", "b:90-99=drop"],
        &["a:80=drop", "b:80=drop from 10.0.0.0/8"],
        &["a:10.0.0.0/8:80=drop", "b:[fd00::/8]:80=drop"],
        // Both have the width of two, but each leaves out the port that they share.
        &["a:15000-15001=proxy:15001", "b:15001-15002=proxy:15001"],
        // Atoms of one route may overlap.
        &["a:80-89,85-94,85=drop"],
    ] {
        compiled(&files(routes));
    }
    compiled(&RouteSets::from([
        (Origin::CommandLine, vec![route("a:80=drop")]),
        (Origin::Files, vec![route("a:80=drop")]),
    ]));
}

#[test]
fn two_routes_of_one_name_are_refused() {
    assert_eq!(refused_files(&["a:80=drop", "a:81=drop"]), ["route a (files): there are two of this name"]);
    assert_eq!(
        refused_files(&["80=drop", "tcp/80=pass"]),
        ["route tcp/80 (files): there are two of this name"]
    );
}

#[test]
fn every_unsound_route_is_told_whatever_made_it() {
    let sound = route("a:10.0.0.0/8:80=proxy:15001");
    let unsound = vec![
        Route { name: "b".into(), ports: Vec::new(), ..sound.clone() },
        Route {
            name: "c".into(),
            destinations: vec!["10.0.0.1/8".parse().expect("a prefix")],
            ..sound.clone()
        },
        Route { name: "d e".into(), ..sound.clone() },
        sound,
    ];
    assert_eq!(
        refused(&RouteSets::from([(Origin::Api, unsound)]), &Limits::default()),
        [
            "route b (api): the route names no ports",
            "route c (api): 10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8 or 10.0.0.1",
            "route d e (api): `d e` is not a name: a name has only letters, digits, `-` and `.`",
        ]
    );
}

#[test]
fn limits_are_told_with_their_numbers() {
    let few = Limits { routes: 3, prefixes: 3, sources: 3, proxies: 1 };
    let cases = [
        (&["80=pass", "81=pass", "82=pass", "83=pass"][..], "4 routes", 3),
        (&["10.0.0.1,10.0.0.2:80,81=pass"], "4 prefixes", 3),
        (&["80=pass from 10.0.0.1,10.0.0.2", "81=pass from 10.0.0.3,10.0.0.4"], "4 sources", 3),
        (&["80=proxy:15001", "81=proxy:15002"], "2 proxies", 1),
    ];
    for (routes, needed, limit) in cases {
        let message = format!("the routes need at least {needed}, and the limit is {limit}");
        assert_eq!(refused(&files(routes), &few), [message]);
    }
    compile(&files(&["10.0.0.1:80,81,82=proxy:15001 from 10.0.0.1,10.0.0.2,10.0.0.3"]), &few)
        .expect("just fits");
}

#[test]
fn routes_that_multiply_beyond_reason_are_refused_at_once() {
    let list = |n: u32| (0..n).map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect::<Vec<_>>().join(",");
    let nested: Vec<_> = (2..3000).map(|last| format!("1-{last}=drop")).collect();
    for routes in [
        vec![format!("{}:80=drop from {}", list(3000), list(3000))],
        vec![format!("{}:80-89=drop", list(3000)), format!("{}:80=drop from {}", list(2000), list(3000))],
        nested,
    ] {
        let texts: Vec<_> = routes.iter().map(String::as_str).collect();
        let refusals = compile(&files(&texts), &Limits::default()).expect_err("refused");
        let is_budget = |what: &str| what.starts_with("combinations");
        assert!(matches!(refusals[..], [Refusal::Limit { what, .. }] if is_budget(what)), "{refusals:?}");
    }
}

#[test]
fn udp_route_that_would_catch_answers_needs_a_destination() {
    let local_ports = PortRange::new(32768, 60999).expect("a range");
    let message = |text| route(text).check_answers(local_ports).err().map(|error| error.to_string());
    assert_eq!(
        message("udp/1-65535=drop").as_deref(),
        Some(
            "udp ports 1-65535 overlap those of this host's own sockets (ip_local_port_range, 32768-60999) and \
             would catch their answers: give the route a destination prefix"
        )
    );
    assert!(message("udp/0.0.0.0/0:40000=proxy:15053").is_some());
    for fine in ["udp/53=drop", "udp/40000=pass", "udp/10.0.0.0/8:40000=drop", "40000=drop"] {
        assert_eq!(message(fine), None, "{fine}");
    }
}
