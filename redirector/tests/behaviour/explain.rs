//! `redirector explain`: why a connection is, or is not, redirected.

use serde_json::Value;

use crate::support::{
    Connection, World, at_each_hook,
    command::Outcome,
    datagrams::{Client, Receiver},
    golden::assert_golden,
    in_world,
    world::{FAMILIES, Family, PORT, PROXY_PORT},
};

/// Routes of which each shows another answer.
const ROUTES: [&str; 7] = [
    "web:192.0.2.0/24,[2001:db8:2::/64]:8080-8089=proxy:15001",
    "mesh:192.0.0.0/16,[2001:db8:2::/48]:8000-8999=proxy:15001",
    "hole:192.0.2.1,[2001:db8:2::1]:8088=pass",
    "down:7000=proxy:15999 else reset",
    "guarded:7001=drop from 10.9.0.0/16,2001:db8:9::/64",
    "away:7002=interface:to-server",
    "v4-only:7003=proxy:127.0.0.1:15001",
];

#[test]
fn every_answer_names_its_cause_and_the_loaded_program_agrees() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&ROUTES);
        for family in FAMILIES {
            let service = family.service();
            for (port, code, words) in [
                (8080, 0, &["over", "route mesh", "its destination is shorter"][..]),
                (8080, 0, &["verdict steered to", ":15001 (route web); the loaded program says the same"]),
                (8088, 1, &["verdict passed (pass-route, route hole)", "says the same"]),
                (7000, 0, &["unavailable", "else reset"]),
                (7000, 0, &["verdict reset (no-listener, route down)", "says the same"]),
                (15001, 1, &["verdict passed (", "says the same"]),
                (7002, 0, &["verdict forwarded to to-server (route away)", "says the same"]),
            ] {
                let outcome = explain(world, &format!("{} {}", family.client(), at(service, port)));
                outcome.assert_code(code).assert_says(words);
            }
            // Of those that no route takes: which part of the match is to blame.
            let outcome = explain(world, &format!("{} {}", family.client(), at(family.server(), 7001)));
            outcome.assert_code(1).assert_says(&["source", "in none of theirs", "no route"]);
            let outcome = explain(world, &format!("{} {}", family.client(), at(family.server(), 8081)));
            outcome.assert_code(1).assert_says(&["destination", "in none of theirs", "no route"]);
            let v4_only = explain(world, &format!("{} {}", family.client(), at(family.server(), 7003)));
            match family {
                Family::V4 => v4_only.assert_code(0).assert_says(&["verdict steered to 127.0.0.1:15001"]),
                Family::V6 => {
                    v4_only.assert_code(1).assert_says(&["no route for IPv6; v4-only takes IPv4 only"])
                }
            };
        }
        // Nobody has seen a packet, but for what hosts say by themselves.
        let summary = agent.stop();
        assert_eq!(summary.connections("web"), 0);
        let by_themselves = ["passed other-protocol", "passed not-ip"];
        let reasons = summary.reasons().into_iter();
        let seen: Vec<_> = reasons.filter(|reason| !by_themselves.contains(&reason.as_str())).collect();
        assert_eq!(seen, [""; 0]);
    });
}

#[test]
fn what_is_said_of_datagrams_is_what_becomes_of_them() {
    at_each_hook(|world| {
        let _proxy = world.datagram_proxy();
        let _real = [7002, 8088].map(|port| {
            FAMILIES.map(|family| Receiver::ordinary((family.server(), port)).serve(&world.server, "server"))
        });
        let agent = world.agent(&[
            "dns:udp/8080-8089=proxy:15001",
            "hole:udp/10.0.3.2,[2001:db8:3::2]:8088=pass",
            "down:udp/7000=proxy:15999 else reset",
            "cut:udp/7001=drop",
            "away:udp/7002=interface:to-server",
            "web:tcp/7003=proxy:15001",
        ]);
        for family in FAMILIES {
            let (service, server) = (family.service(), family.server());
            for (to, code, words) in [
                ((service, 8080), 0, &["proxy", ":15001", "listening, transparent", "steer"][..]),
                ((service, 8080), 0, &["verdict steered to", ":15001 (route dns)"]),
                ((server, 8088), 1, &["over", "route dns", "its destination is shorter"]),
                ((server, 8088), 1, &["verdict passed (pass-route, route hole)"]),
                ((service, 7000), 0, &["verdict reset (no-listener, route down)"]),
                ((service, 7001), 0, &["verdict dropped (drop-route, route cut)"]),
                ((server, 7002), 0, &["verdict forwarded to to-server (route away)"]),
                ((service, 7003), 1, &["web takes tcp only"]),
            ] {
                let asked = format!("{} {}", family.client(), at(to.0, to.1));
                let outcome = explain_datagram(world, &asked);
                outcome
                    .assert_code(code)
                    .assert_says(words)
                    .assert_says(&["the loaded program says the same"]);
            }
            world.assert_datagram_reaches((service, 8080), "proxy");
            world.assert_datagram_reaches((server, 8088), "server");
            world.assert_datagram_refused((service, 7000));
            world.assert_datagram_silent((service, 7001));
            world.assert_datagram_reaches((server, 7002), "server");
        }
        // Those that were sent, and none that was asked about.
        let summary = agent.stop();
        for route in ["dns", "hole", "cut", "away"] {
            assert_eq!(summary.connections(route), 2, "{route}");
        }
        assert_eq!((summary.connections("down"), summary.unavailable("down")), (0, 2));
    });
}

#[test]
fn a_flow_of_datagrams_that_a_connected_socket_has_stays_with_it() {
    in_world(|world| {
        let _proxy = FAMILIES
            .map(|family| world.receive(Receiver::proxy((family.loopback(), PROXY_PORT)).per_client()));
        let agent = world.agent(&["dns:udp/8080=proxy:15001"]);
        for family in FAMILIES {
            let client = Client::new(&world.client, (family.service(), PORT));
            let asked = format!("{} {}", client.address, client.to);
            let before = explain_datagram(world, &asked);
            before.assert_code(0).assert_says(&["new: a route decides"]);
            before.assert_says(&[":15001 (route dns)", "says the same"]);
            assert_eq!(client.ask().expect("the proxy answers"), "proxy");
            let after = explain_datagram(world, &asked);
            after.assert_code(0).assert_says(&["here already", "its socket is connected: no route is asked"]);
            after.assert_says(&["verdict steered (established)", "says the same"]);
            assert_eq!(client.ask().expect("the proxy's socket answers"), "proxy's");
        }
        agent.stop();
    });
}

#[test]
fn a_connection_that_is_there_keeps_what_it_got() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["web:8080=proxy:15001"]);
        for family in FAMILIES {
            let connection =
                Connection::open(&world.client, (family.service(), PORT).into()).expect("connect");
            let local = connection.answer.client;
            let asked = format!("{local} {}", at(family.service(), PORT));
            let before = explain(world, &asked);
            before.assert_code(0).assert_says(&["connection", "here already (ESTAB)", "keeps what it got"]);
            before.assert_says(&["verdict steered (established); the loaded program says the same"]);
            // Not what a route says that came later.
            let now = format!("route add now:{}:8080=drop", bracketed(family));
            world.redirector(&now).assert_code(0);
            let after = explain(world, &asked);
            after.assert_code(0).assert_says(&["verdict steered (established)", "says the same"]);
            let another = explain(world, &format!("{} {}", family.client(), at(family.service(), PORT)));
            another.assert_code(0).assert_says(&["verdict dropped (drop-route, route now)", "says the same"]);
            world.redirector("route remove now").assert_code(0);
            drop(connection);
        }
        agent.stop();
    });
}

#[test]
fn an_interface_that_nobody_captures_is_told_and_one_that_is_not_there_too() {
    in_world(|world| {
        let agent = world.agent(&["web:8080=proxy:15001"]);
        let outcome = world.redirector("explain tcp 10.0.1.2 192.0.2.1:8080 --interface to-server");
        outcome.assert_code(1).assert_says(&["interface", "not captured", "no program of ours sees it"]);
        outcome.assert_says(&["verdict passed; no program of ours was asked"]);
        let outcome = world.redirector("explain tcp 10.0.1.2 192.0.2.1:8080 --interface eth9");
        assert!(outcome.assert_code(4).stderr.contains("there is no interface eth9: there are"));
        let outcome = world.redirector("explain udp 10.0.1.2 192.0.2.1:8080 --interface to-client");
        outcome.assert_code(1).assert_says(&["named by no route for IPv4; web takes tcp only"]);
        for (arguments, word) in [
            ("tcp 10.0.1.2 192.0.2.1", "ADDRESS:PORT"),
            ("tcp 10.0.1.2 [2001:db8:2::1]:80", "two address families"),
            ("tcp host 192.0.2.1:80", "no source"),
        ] {
            let outcome = world.redirector(&format!("explain {arguments} --interface to-client"));
            assert!(outcome.assert_code(5).stderr.contains(word), "{}", outcome.stderr);
        }
        agent.stop();
        world.redirector("explain tcp 10.0.1.2 192.0.2.1:8080 --interface to-client").assert_code(3);
    });
}

#[test]
fn the_screens_are_those_of_the_documents() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_with(&ROUTES, &[]);
        for (name, arguments) in [
            ("explain-steered", "tcp 10.0.1.2:41822 192.0.2.7:8080"),
            ("explain-exclusion", "tcp 2001:db8:1::2 [2001:db8:2::1]:8088"),
            ("explain-unavailable", "tcp 10.0.1.2 192.0.2.1:7000"),
            ("explain-source", "tcp 10.0.1.2 10.0.3.2:7001"),
            ("explain-no-route", "tcp 10.0.1.2 10.0.3.2:8080"),
        ] {
            let asked = format!("explain {arguments} --interface to-client");
            let outcome = world.redirector(&asked);
            assert_golden(name, &format!("$ redirector {asked}\n{}", outcome.stdout));
        }
        let json =
            world.redirector("explain tcp 10.0.1.2:41822 192.0.2.7:8080 --interface to-client -o json");
        let document: Value = serde_json::from_str(&json.assert_code(0).stdout).expect("it is JSON");
        assert_eq!(document["version"], 1);
        assert_eq!(document["program"]["agrees"], true);
        assert_eq!(document["route"]["name"], "web");
        agent.stop();
    });
}

fn explain(world: &World, asked: &str) -> Outcome {
    world.redirector(&format!("explain tcp {asked} --interface to-client"))
}

fn explain_datagram(world: &World, asked: &str) -> Outcome {
    world.redirector(&format!("explain udp {asked} --interface to-client"))
}

fn at(address: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// The service's address as a destination of a route.
fn bracketed(family: Family) -> String {
    match family {
        Family::V4 => family.service().to_string(),
        Family::V6 => format!("[{}]", family.service()),
    }
}
