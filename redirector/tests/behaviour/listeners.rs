//! Listeners of every kind: which of them take connections, and what is said of those that cannot.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::support::{
    Listener, Server, World, at_each_hook, in_world,
    world::{FAMILIES, Family, PORT, PROXY_PORT},
};

#[test]
fn a_listener_that_is_not_transparent_takes_local_destinations_only() {
    for (route, verdict) in ROUTES {
        at_each_hook(|world| {
            let real = world.real_server(PORT);
            let _proxy = serve(world, |listener| listener.transparent(false));
            let agent = world.agent(&[route]);
            for family in FAMILIES {
                world.assert_reaches((family.node(), PORT), "proxy");
                assert_else(world, family, verdict, &real);
            }
            assert_hint(&agent.said(), "not transparent", "IP_TRANSPARENT");
            let summary = agent.stop();
            assert_eq!([summary.connections("all"), summary.unavailable("all")], [2, 2]);
            assert_eq!(summary.packets(verdict, "not-transparent"), 2);
        });
    }
}

#[test]
fn an_mptcp_listener_takes_nothing_and_the_reason_says_so() {
    for (route, verdict) in ROUTES {
        in_world(|world| {
            let real = world.real_server(PORT);
            let proxy = serve(world, Listener::by_mptcp);
            let agent = world.agent(&[route]);
            for family in FAMILIES {
                assert_else(world, family, verdict, &real);
            }
            assert_hint(&agent.said(), "MPTCP", "GODEBUG=multipathtcp=0");
            assert_eq!(proxy.each_ref().map(Server::accepted), [0, 0]);
            assert_eq!(agent.stop().packets(verdict, "mptcp-listener"), 2);
        });
    }
}

#[test]
fn a_listener_that_is_bound_to_a_device_takes_nothing_and_the_reason_says_so() {
    for (route, verdict) in ROUTES {
        in_world(|world| {
            let real = world.real_server(PORT);
            let proxy = serve(world, |listener| listener.on_device("to-client"));
            let agent = world.agent(&[route]);
            for family in FAMILIES {
                assert_else(world, family, verdict, &real);
            }
            assert_eq!(proxy.each_ref().map(Server::accepted), [0, 0]);
            assert_eq!(agent.stop().packets(verdict, "device-bound"), 2);
        });
    }
}

#[test]
fn the_start_up_line_names_a_device_that_the_listener_is_bound_to() {
    in_world(|world| {
        let _proxy = serve(world, |listener| listener.on_device("lo"));
        let agent = world.agent(&["all:8080=proxy:15001"]);
        assert_hint(&agent.said(), "bound to a device", "SO_BINDTODEVICE");
    });
}

#[test]
fn listeners_at_every_address_are_found() {
    in_world(|world| {
        let _real = world.real_server(PORT);
        let agent = world.agent(&["all:8080=proxy:15001"]);
        let v4 = Listener::proxy((Ipv4Addr::UNSPECIFIED, PROXY_PORT));
        let v6 = Listener::proxy((Ipv6Addr::UNSPECIFIED, PROXY_PORT));
        let cases = [
            ("0.0.0.0", v4, [true, false]),
            ("[::], IPv6 only", v6.clone(), [false, true]),
            ("[::], dual-stack", v6.dual_stack(), [true, true]),
        ];
        for (case, listener, takes) in cases {
            println!("listening at {case}");
            let _proxy = world.serve_proxy(listener);
            for (family, takes) in FAMILIES.into_iter().zip(takes) {
                world.assert_reaches((family.server(), PORT), if takes { "proxy" } else { "server" });
                if takes {
                    world.assert_reaches((family.node(), PORT), "proxy");
                } else {
                    world.assert_refused((family.node(), PORT));
                }
            }
        }
        assert_eq!(agent.stop().lost("all"), 0);
    });
}

#[test]
fn a_proxy_at_an_address_takes_the_family_of_that_address_only() {
    for (family, other, proxy) in [
        (Family::V4, Family::V6, "proxy:10.0.1.1:15001"),
        (Family::V6, Family::V4, "proxy:[2001:db8:1::1]:15001"),
    ] {
        in_world(|world| {
            let _real = world.real_server(PORT);
            let _proxy = FAMILIES.map(|each| world.serve_proxy(Listener::proxy((each.node(), PROXY_PORT))));
            let agent = world.agent(&[&format!("all:8080={proxy}")]);
            world.assert_reaches((family.server(), PORT), "proxy");
            world.assert_reaches((family.node(), PORT), "proxy");
            world.assert_reaches((other.server(), PORT), "server");
            // Its own port stays reachable, and is nobody else's.
            world.assert_reaches((family.node(), PROXY_PORT), "proxy");
            let summary = agent.stop();
            assert_eq!([summary.connections("all"), summary.unavailable("all")], [2, 0]);
        });
    }
}

/// Both things that a connection can get instead, and the verdict on its SYN.
const ROUTES: [(&str, &str); 2] =
    [("all:8080=proxy:15001", "passed"), ("all:8080=proxy:15001 else drop", "dropped")];

fn serve(world: &World, how: impl Fn(Listener) -> Listener) -> [Server; 2] {
    FAMILIES.map(|family| world.serve_proxy(how(Listener::proxy((family.loopback(), PROXY_PORT)))))
}

/// Asserts that a connection to a foreign address gets the route's `else`.
#[track_caller]
fn assert_else(world: &World, family: Family, verdict: &str, real: &[Server; 2]) {
    let accepted = || real.iter().map(Server::accepted).sum::<usize>();
    let before = accepted();
    if verdict == "passed" {
        world.assert_reaches((family.server(), PORT), "server");
    } else {
        world.assert_silent((family.server(), PORT));
        assert_eq!(accepted(), before, "a dropped connection reaches nobody");
    }
}

/// Asserts that the agent says this of both listeners, each time with a hint that has this word.
#[track_caller]
fn assert_hint(said: &[String], what: &str, hint: &str) {
    for start in ["proxy 127.0.0.1:15001: ", "proxy [::1]:15001: "] {
        let at = said.iter().position(|line| line.starts_with(start)).expect("the agent speaks of the proxy");
        assert!(said[at].contains(what), "{said:#?}");
        assert!(said[at + 1].trim_start().starts_with("hint: ") && said[at + 1].contains(hint), "{said:#?}");
    }
}
