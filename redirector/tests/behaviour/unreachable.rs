//! Datagrams that their target cannot take: their `else`, and that the proxy comes back by itself.

use nix::sys::signal::Signal;

use crate::support::{
    World, at_each_hook,
    datagrams::{Client, Datagrams, Receiver, assert_datagram_refused},
    in_world,
    world::{FAMILIES, PORT, PROXY_PORT},
};

#[test]
fn without_the_proxy_datagrams_pass_to_what_is_really_there() {
    at_each_hook(|world| {
        let _real = servers(world);
        let agent = world.agent(&["all:udp/8080-8081=proxy:15001"]);
        let said = agent.wait_for("proxy udp/127.0.0.1:15001:");
        assert!(said.contains("not listening yet: datagrams get their route's `else`"), "{said}");
        for _ in 0..3 {
            for family in FAMILIES {
                world.assert_datagram_reaches((family.server(), PORT), "server");
                world.assert_datagram_reaches((family.node(), PORT), "local");
                // Where nobody is there, the kernel of whoever has the address says so.
                world.assert_datagram_refused((family.server(), PORT + 1));
                world.assert_datagram_refused((family.node(), PORT + 1));
            }
            let _proxy = world.datagram_proxy();
            assert_everything_reaches_the_proxy(world);
        }
        let summary = agent.stop();
        assert_eq!(
            [summary.connections("all"), summary.unavailable("all"), summary.lost("all")],
            [18, 24, 0]
        );
        assert_eq!(summary.packets("passed", "no-listener"), 24);
    });
}

#[test]
fn without_the_proxy_datagrams_are_dropped_where_the_route_says_so() {
    at_each_hook(|world| {
        let real = servers(world);
        let proxy = world.datagram_proxy();
        let agent = world.agent(&["all:udp/8080=proxy:15001 else drop"]);
        assert_everything_reaches_the_proxy(world);
        drop(proxy);
        for family in FAMILIES {
            world.assert_datagram_silent((family.server(), PORT));
            world.assert_datagram_silent((family.node(), PORT));
        }
        let _proxy = world.datagram_proxy();
        assert_everything_reaches_the_proxy(world);
        assert!(real.iter().all(|server| server.received() == 0), "nothing went past the proxy");
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.unavailable("all")], [12, 4]);
        assert_eq!(summary.packets("dropped", "no-listener"), 4);
    });
}

#[test]
fn a_datagram_that_nobody_takes_is_refused_whatever_its_destination_and_length() {
    at_each_hook(|world| {
        let real = servers(world);
        let agent = world.agent(&["all:udp/8080=proxy:15001 else reset"]);
        for family in FAMILIES {
            for address in [family.service(), family.node(), family.server()] {
                let client = Client::new(&world.client, (address, PORT));
                for length in [0, 1, 7, 8, 1400] {
                    client.send(&vec![0x5a; length]);
                    let error = client.answer_to(b"").expect_err("nobody takes it");
                    assert_eq!(
                        error.kind(),
                        std::io::ErrorKind::ConnectionRefused,
                        "{address}, {length} bytes"
                    );
                }
                // Many in one get one answer.
                client.set_segment(1000);
                client.send(&[0x5a; 40_000]);
                let error = client.answer_to(b"").expect_err("nobody takes it");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}, many in one");
            }
        }
        // The next one is the proxy's as soon as it listens.
        let _proxy = world.datagram_proxy();
        assert_everything_reaches_the_proxy(world);
        assert!(real.iter().all(|server| server.received() == 0), "nothing went past the proxy");
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.unavailable("all")), (6, 36));
        assert_eq!(summary.packets("reset", "no-listener"), 36);
    });
}

#[test]
fn the_client_takes_the_refusal_whoever_computes_the_checksums() {
    in_world(|world| {
        let agent = world.agent(&["all:udp/8080=proxy:15001 else reset"]);
        for offload in ["on", "off"] {
            for (netns, device) in [(&world.client, "to-node"), (&world.node, "to-client")] {
                netns.output(&format!("ethtool -K {device} tx {offload} rx {offload}"));
            }
            for family in FAMILIES {
                for _ in 0..50 {
                    // Ports and so checksums of many kinds.
                    assert_datagram_refused(&Client::new(&world.client, (family.service(), PORT)));
                }
            }
        }
        assert_eq!(agent.stop().packets("reset", "no-listener"), 200);
    });
}

#[test]
fn a_new_proxy_is_found_by_the_next_datagram_though_the_agent_is_stopped() {
    at_each_hook(|world| {
        let _real = servers(world);
        let proxy = world.datagram_proxy();
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        assert_everything_reaches_the_proxy(world);
        agent.signal(Signal::SIGSTOP);
        drop(proxy);
        for family in FAMILIES {
            world.assert_datagram_reaches((family.server(), PORT), "server");
        }
        let _proxy = world.datagram_proxy();
        assert_everything_reaches_the_proxy(world);
        agent.signal(Signal::SIGCONT);
        assert_eq!(agent.stop().packets("passed", "no-listener"), 2);
    });
}

#[test]
fn an_agent_that_was_killed_lets_datagrams_pass_and_the_next_one_takes_over() {
    at_each_hook(|world| {
        let _servers = (servers(world), world.datagram_proxy());
        for _ in 0..2 {
            let agent = world.agent(&["all:udp/8080=proxy:15001 else drop"]);
            assert_everything_reaches_the_proxy(world);
            // What a filter then drops is what nobody would take: with clsact it is there still.
            agent.kill();
            for family in FAMILIES {
                match world.hook {
                    crate::support::Hook::Clsact => world.assert_datagram_silent((family.server(), PORT)),
                    _ => world.assert_datagram_reaches((family.server(), PORT), "server"),
                }
            }
        }
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        assert_everything_reaches_the_proxy(world);
        assert_eq!(agent.stop().lost("all"), 0);
    });
}

#[test]
fn a_socket_that_was_connected_does_not_hide_its_successor() {
    at_each_hook(|world| {
        let _real = servers(world);
        let connected = world.datagram_proxy();
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        assert_everything_reaches_the_proxy(world);
        for (socket, family) in connected.iter().zip(FAMILIES) {
            socket.connect((family.loopback(), 9));
            world.assert_datagram_reaches((family.server(), PORT), "server");
        }
        let _proxy = world.datagram_proxy();
        assert_everything_reaches_the_proxy(world);
        assert_eq!(agent.stop().lost("all"), 0);
        assert_eq!(connected.each_ref().map(Datagrams::received), [3, 3]);
    });
}

#[test]
fn a_socket_that_is_not_transparent_takes_datagrams_and_is_told() {
    in_world(|world| {
        let _proxy = FAMILIES
            .map(|family| world.receive(Receiver::proxy((family.loopback(), PROXY_PORT)).transparent(false)));
        let agent = world.agent(&["all:udp/8080=proxy:15001 else drop"]);
        for address in ["127.0.0.1", "[::1]"] {
            let said = agent.wait_for(&format!("proxy udp/{address}:15001:"));
            assert!(said.contains("not transparent: takes every datagram"), "{said}");
            world.redirector("status").assert_code(1).assert_says(&[
                "WARN",
                "proxy",
                &format!("udp/{address}:15001"),
                "not transparent",
            ]);
            world.redirector("check --interface to-client --route udp/8080=proxy:15001").assert_says(&[
                "WARN",
                "proxy-transparent",
                &format!("udp/{address}:15001"),
            ]);
        }
        // It answers by another socket, which is.
        assert_everything_reaches_the_proxy(world);
        agent.stop();
    });
}

#[test]
fn a_socket_that_is_bound_to_a_device_takes_nothing_and_the_reason_says_so() {
    in_world(|world| {
        let _real = servers(world);
        let proxy = FAMILIES.map(|family| {
            world.receive(Receiver::proxy((family.loopback(), PROXY_PORT)).on_device("to-client"))
        });
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_datagram_reaches((family.server(), PORT), "server");
        }
        assert_eq!(proxy.each_ref().map(Datagrams::received), [0, 0]);
        assert_eq!(agent.stop().packets("passed", "device-bound"), 2);
    });
}

/// What is really there: another host's servers, and the node's own.
fn servers(world: &World) -> Vec<Datagrams> {
    let servers = FAMILIES.into_iter().flat_map(|family| {
        [
            Receiver::ordinary((family.server(), PORT)).serve(&world.server, "server"),
            Receiver::ordinary((family.node(), PORT)).serve(&world.node, "local"),
        ]
    });
    servers.collect()
}

/// Three datagrams of each family: to a service, to another host that has a server, to the node itself.
#[track_caller]
fn assert_everything_reaches_the_proxy(world: &World) {
    for family in FAMILIES {
        for address in [family.service(), family.server(), family.node()] {
            world.assert_datagram_reaches((address, PORT), "proxy");
        }
    }
}
