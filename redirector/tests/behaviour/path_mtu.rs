//! Large transfers: with and without the work of network cards, and over a path that narrows.

use crate::support::{
    Connection, World, at_each_hook,
    datagrams::Client,
    in_world,
    router::{Router, TO_ROUTER},
    world::{FAMILIES, PORT},
};

#[test]
fn the_proxy_learns_that_the_path_is_narrower_than_its_link() {
    at_each_hook(|world| {
        let path = Router::new(world).narrow();
        let _proxy = world.proxy();
        let agent = world.agent_at(TO_ROUTER, &["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.server(), family.node()] {
                // What was learnt is of use to all connections to this client.
                path.forget_path(world);
                let mut connection =
                    Connection::open(&path.far, (address, PORT).into()).expect("the proxy answers");
                assert_eq!(connection.answer.name, "proxy");
                connection.assert_echoes_much(1 << 20);
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (6, 0));
        // One for each address that is not the node's own.
        assert!(summary.packets("steered", "icmp-error") >= 4, "the errors are led to the proxy");
    });
}

#[test]
fn an_error_for_somebody_else_is_not_led_to_the_proxy() {
    at_each_hook(|world| {
        let Router { far, .. } = &Router::new(world).narrow();
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let agent = world.agent_at(TO_ROUTER, &["all:8081=proxy:15001", "leave:8080=pass"]);
        for family in FAMILIES {
            let mut connection =
                Connection::open(far, (family.server(), PORT).into()).expect("the server answers");
            assert_eq!(connection.answer.name, "server");
            connection.assert_echoes_much(1 << 20);
        }
        let summary = agent.stop();
        assert_eq!(summary.packets("steered", "icmp-error"), 0);
        assert!(summary.packets("passed", "other-protocol") > 0, "they pass");
    });
}

#[test]
fn a_hundred_megabytes_go_through_unchanged_with_and_without_offloads() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for offloads in ["on", "off"] {
            set_offloads(world, offloads);
            for family in FAMILIES {
                for address in [family.service(), family.node()] {
                    let mut connection =
                        Connection::open(&world.client, (address, PORT).into()).expect("the proxy answers");
                    connection.assert_echoes_much(100 << 20);
                }
            }
        }
        assert_eq!(agent.stop().lost("all"), 0);
    });
}

#[test]
fn datagrams_of_every_size_reach_the_proxy_without_offloads() {
    in_world(|world| {
        let _proxy = world.datagram_proxy();
        let _agent = world.agent(&["dns:udp/8080=proxy:15001"]);
        set_offloads(world, "off");
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                let client = Client::new(&world.client, (address, PORT));
                for length in [0, 1, 7, 8, 9, 1400, 1472, 1473, 9000, 65_000] {
                    let datagram = vec![3; length];
                    client.send(&datagram);
                    assert_eq!(client.answer_to(&datagram).expect("the proxy answers"), "proxy");
                }
            }
        }
    });
}

/// Turns what network cards do for the kernel on or off, at both ends of the client's link.
fn set_offloads(world: &World, value: &str) {
    let features = ["rx", "tx", "sg", "tso", "gso", "gro"].map(|feature| format!("{feature} {value}"));
    for (netns, interface) in [(&world.client, "to-node"), (&world.node, "to-client")] {
        netns.output(&format!("ethtool -K {interface} {}", features.join(" ")));
    }
}
