//! Connections to the proxy, and those that are left alone.

use std::net::SocketAddr;

use crate::support::{
    Connection, Listener, at_each_hook,
    frames::{Wire, flag, tcp},
    napi::receive_in_batches,
    world::{FAMILIES, Family, PORT, PROXY_PORT},
};

#[test]
fn foreign_and_local_destinations_reach_the_proxy_under_their_own_addresses() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        let _real = world.real_server(PORT);
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for (family, proxy) in FAMILIES.into_iter().zip(&proxy) {
            let foreign = [family.service(), family.server()];
            let local = [family.node(), family.node_to_server()];
            for address in foreign.into_iter().chain(local) {
                world.assert_reaches((address, PORT), "proxy");
            }
            assert_eq!(proxy.accepted(), 4);
        }
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.unavailable("all"), summary.lost("all")], [8, 0, 0]);
        assert_eq!(summary.packets("steered", "proxy"), 8);
        assert!(summary.packets("steered", "established") > 0, "packets to foreign addresses are marked");
        assert!(summary.packets("passed", "local") > 0, "packets to this host need nothing");
    });
}

#[test]
fn steered_connections_carry_bytes_both_ways_as_long_as_they_are_open() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _agent = world.agent(&["8080=proxy:15001"]);
        let mut connections: Vec<_> = FAMILIES
            .iter()
            .flat_map(|family| [family.service(), family.node()])
            .map(|address| {
                Connection::open(&world.client, (address, PORT).into()).expect("the proxy answers")
            })
            .collect();
        for _ in 0..100 {
            connections.iter_mut().for_each(Connection::assert_echoes);
        }
    });
}

#[test]
fn large_transfers_arrive_whole() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _agent = world.agent(&["8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                let to = (address, PORT).into();
                let mut connection = Connection::open(&world.client, to).expect("the proxy answers");
                connection.assert_echoes_much(8 << 20);
            }
        }
    });
}

#[test]
fn connections_that_come_in_one_batch_all_reach_the_proxy_and_none_counts_as_lost() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        // As a network card does it: the hook sees all packets of a batch before the stack sees the first.
        receive_in_batches(world);
        let agent = world.agent(&["all:8080=proxy:15001"]);
        let wire = Wire::open(&world.client, "to-node");
        for family in FAMILIES {
            for port in 41000..41060 {
                for address in [family.service(), family.node()] {
                    wire.send(&tcp((family.client(), port).into(), (address, PORT).into(), flag::SYN));
                }
            }
            for address in [family.service(), family.node()] {
                world.assert_reaches((address, PORT), "proxy");
            }
        }
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.lost("all")], [244, 0]);
        drop(proxy);
    });
}

#[test]
fn ports_that_no_route_names_reach_what_is_there() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT + 1);
        let agent = world.agent(&["8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT + 1), "server");
            world.assert_refused((family.server(), PORT + 2));
            world.assert_refused((family.node(), PORT + 2));
        }
        let summary = agent.stop();
        assert_eq!(summary.connections("tcp/8080"), 0);
        assert!(
            summary.reasons().iter().all(|reason| reason.starts_with("passed")),
            "{:?}",
            summary.reasons()
        );
    });
}

#[test]
fn connections_that_began_before_the_agent_go_on_undisturbed() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT);
        let local =
            FAMILIES.map(|family| Listener::ordinary((family.node(), PORT)).serve(&world.node, "local"));
        let open = |(name, to): (&str, SocketAddr)| {
            let connection = Connection::open(&world.client, to).expect("connect before the agent");
            assert_eq!(connection.answer.name, name);
            connection
        };
        let destinations = |family: Family| [("server", family.server()), ("local", family.node())];
        let mut older: Vec<_> = FAMILIES
            .into_iter()
            .flat_map(destinations)
            .map(|(name, address)| open((name, (address, PORT).into())))
            .collect();
        older.iter_mut().for_each(Connection::assert_echoes);

        let agent = world.agent(&["8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
            world.assert_reaches((family.node(), PORT), "proxy");
        }
        for _ in 0..10 {
            older.iter_mut().for_each(Connection::assert_echoes);
        }
        let summary = agent.stop();
        assert!(summary.packets("passed", "not-new") > 0, "what was forwarded before is passed on");
        // Nor does the end of the agent disturb them, or let new connections reach anything but what is there.
        older.iter_mut().for_each(Connection::assert_echoes);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "server");
            world.assert_reaches((family.node(), PORT), "local");
        }
        drop(local);
    });
}

#[test]
fn what_the_proxy_and_the_host_open_never_comes_back_to_the_proxy() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        let _real = world.real_server(PORT);
        let _local =
            FAMILIES.map(|family| Listener::ordinary((family.node(), PORT)).serve(&world.node, "local"));
        // The server's side is captured as well, where the answers to the proxy arrive.
        let agent = world.agent_at("to-*", &["all:1-65535=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
            // The node's own processes, the proxy among them, to the same addresses and port.
            world.assert_reaches_from(&world.node, (family.server(), PORT), "server");
            world.assert_reaches_from(&world.node, (family.node(), PORT), "local");
            world.assert_reaches_from(&world.node, (family.loopback(), PROXY_PORT), "proxy");
        }
        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [2, 2]);
        assert_eq!(agent.stop().connections("all"), 2);
    });
}
