//! What the kernel tracks of connections beside NAT: those of before, those that are kept out of it, and none where
//! there was no NAT.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use crate::{
    netfilter::{MODES, ROUTES, server, service},
    support::{
        Connection, DEADLINE, Listener, Netns, ask,
        client::Answer,
        datagrams::{Client, Receiver},
        in_world,
        nat::{TOOLS, Tool, tracked_tcp, tracks},
        turnover::turn_over_for,
        world::{FAMILIES, PORT, PROXY_PORT},
    },
};

#[test]
fn a_client_port_with_a_translated_connection_that_died_silently_reaches_the_proxy() {
    for mode in MODES {
        for appears in ["before the agent", "after the agent"] {
            println!("--netfilter {mode}, NAT {appears}");
            in_world(|world| {
                let _servers = (world.proxy(), world.real_server(PORT));
                let early = (appears == "after the agent").then(|| world.agent_beside_nat(mode, &["9=drop"]));
                world.translate(Tool::IptablesNft);
                for family in FAMILIES {
                    let stream = from_port(&world.client, (family.client(), 40123).into(), service(family));
                    let connection = Connection::greet(stream.expect("connect")).expect("the server greets");
                    assert_eq!(connection.answer.name, "server");
                    die_silently(&world.client, connection);
                }
                // The node's own are not steered, so that they need not make way.
                let own =
                    FAMILIES.map(|family| Connection::open(&world.node, service(family)).expect("connect"));
                let entries = tracked_tcp(&world.node, 40123);
                assert_eq!(entries.len(), 2, "{entries:#?}");
                assert!(entries.iter().all(|entry| entry.contains("ESTABLISHED")), "{entries:#?}");

                drop(early);
                let agent = world.agent_beside_nat(mode, ROUTES);
                if mode != "notrack" {
                    let said = agent.wait_for("netfilter: connections translated before");
                    assert!(said.ends_with(": 2"), "{said}");
                }
                drop(own);
                for family in FAMILIES {
                    let stream = from_port(&world.client, (family.client(), 40123).into(), service(family));
                    let answer =
                        Connection::greet(stream.expect("connect")).expect("the proxy greets").answer;
                    assert_eq!((&*answer.name, answer.destination), ("proxy", service(family)));
                    assert_not_misled(&answer);
                }
            });
        }
    }
}

#[test]
fn translated_connections_that_live_go_on_to_the_same_server() {
    for mode in ["auto", "identity", "notrack", "off"] {
        println!("--netfilter {mode}");
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            world.translate(Tool::Nftables);
            let older =
                FAMILIES.into_iter().flat_map(|family| [(family, family.service()), (family, family.node())]);
            // One to the node itself is not told from a connection of the proxy's before it is tracked.
            let older = older.filter(|(family, address)| mode != "notrack" || *address != family.node());
            let older: Vec<_> = older.map(|(family, address)| (family, (address, PORT).into())).collect();
            let mut connections = Vec::from_iter(
                older.iter().map(|(_, to)| Connection::open(&world.client, *to).expect("connect")),
            );
            connections.iter().for_each(|connection| assert_eq!(connection.answer.name, "server"));
            // From here on these are another server's, which does not know of these connections.
            world.node.output("nft flush ruleset");
            for (family, to) in older {
                Tool::Nftables.translate(&world.node, to, (family.node_to_server(), PORT).into());
            }
            let _agent = world.agent_beside_nat(mode, ROUTES);
            for _ in 0..10 {
                connections.iter_mut().for_each(Connection::assert_echoes);
            }
        });
    }
}

#[test]
fn datagrams_of_a_flow_that_was_translated_before_reach_the_proxy() {
    for mode in MODES {
        println!("--netfilter {mode}");
        in_world(|world| {
            let _proxy = world.datagram_proxy();
            let _real =
                FAMILIES.map(|family| Receiver::ordinary(server(family)).serve(&world.server, "server"));
            for family in FAMILIES {
                Tool::translate_datagrams(&world.node, service(family), server(family));
            }
            let clients = FAMILIES.map(|family| Client::new(&world.client, service(family)));
            for client in &clients {
                client.send(b"before");
                let said = client.receive().expect("the server answers");
                assert!(said.starts_with("server "), "{said}");
            }
            let agent = world.agent_beside_nat(mode, &["dns:udp/8080=proxy:15001 else drop"]);
            // By the very same sockets.
            for client in &clients {
                for _ in 0..3 {
                    assert_eq!(client.ask().expect("the proxy answers"), "proxy");
                }
            }
            let summary = agent.stop();
            assert_eq!((summary.connections("dns"), summary.lost("dns")), (6, 0));
        });
    }
}

#[test]
fn untracked_connections_outlive_the_coming_of_nat() {
    for tool in TOOLS {
        println!("{tool:?}");
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            let _agent = world.agent_beside_nat("notrack", ROUTES);
            assert_eq!(tracks(&world.node), [false, false], "the table alone tracks nothing");
            let destinations = FAMILIES.into_iter().flat_map(|family| [family.service(), family.node()]);
            let mut connections: Vec<_> = destinations
                .map(|address| Connection::open(&world.client, (address, PORT).into()).expect("connect"))
                .collect();
            connections.iter_mut().for_each(Connection::assert_echoes);
            world.translate(tool);
            assert_eq!(tracks(&world.node), [true, true]);
            for _ in 0..10 {
                connections.iter_mut().for_each(Connection::assert_echoes);
            }
            assert_eq!(tracked_tcp(&world.node, PORT), [""; 0]);
        });
    }
}

#[test]
fn untracked_connections_are_so_both_ways_from_their_first_packet_to_their_last() {
    in_world(|world| {
        world.client.set_sysctl("ipv4/ip_local_port_range", "40000 40099");
        world.client.set_sysctl("ipv4/tcp_tw_reuse", "1");
        let _proxy = FAMILIES
            .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).closing()));
        world.translate(Tool::IptablesNft);
        let _agent = world.agent_beside_nat("notrack", ROUTES);
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                // Each port more than once, whose last connection the proxy has in TIME_WAIT.
                let turnover = turn_over_for(&world.client, (address, PORT).into(), 300, |answer| {
                    answer.name == "proxy" && answer.original.is_none()
                });
                assert!(turnover.failures.is_empty(), "{address}: {:#?}", turnover.failures);
            }
        }
        assert_eq!(tracked_tcp(&world.node, PORT), [""; 0]);
    });
}

#[test]
fn a_listener_that_is_not_transparent_is_never_told_that_the_client_is_the_destination() {
    for mode in MODES {
        println!("--netfilter {mode}");
        in_world(|world| {
            let listener = |address| Listener::proxy((address, PROXY_PORT)).transparent(false);
            let _proxy = FAMILIES.map(|family| world.serve_proxy(listener(family.loopback())));
            let _real = world.real_server(PORT);
            // Connections are tracked, and those to the node are nobody's to translate.
            for family in FAMILIES {
                Tool::IptablesNft.translate(&world.node, service(family), server(family));
            }
            let _agent = world.agent_beside_nat(mode, ROUTES);
            for family in FAMILIES {
                for _ in 0..20 {
                    world.assert_reaches((family.node(), PORT), "proxy");
                }
                // Such a listener cannot take what is for others: that passes, and is translated.
                let answer = ask(&world.client, service(family)).expect("the server answers");
                assert_eq!((&*answer.name, answer.destination), ("server", server(family)));
            }
        });
    }
}

#[test]
fn where_there_is_no_nat_connections_are_not_tracked_in_auto_or_notrack() {
    for mode in ["auto", "notrack", "off"] {
        println!("--netfilter {mode}");
        in_world(|world| {
            let _proxy = world.proxy();
            assert_eq!(tracks(&world.node), [false, false]);
            let agent = world.agent_beside_nat(mode, ROUTES);
            for family in FAMILIES {
                world.assert_reaches((family.service(), PORT), "proxy");
                world.assert_reaches((family.node(), PORT), "proxy");
            }
            assert_eq!(tracks(&world.node), [false, false]);
            assert_eq!(tracked_tcp(&world.node, PORT), [""; 0]);
            agent.stop();
            assert_eq!(tracks(&world.node), [false, false]);
        });
    }
}

#[track_caller]
fn assert_not_misled(answer: &Answer) {
    let right = answer.original.is_none_or(|original| original == answer.destination);
    assert!(right, "SO_ORIGINAL_DST: {answer:?}");
}

/// Connects from a port of the client's choice.
fn from_port(netns: &Netns, from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    netns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), DEADLINE)?;
        Ok(socket.into())
    })
}

/// Ends a connection at this end, and nobody hears of it, now or when the other end asks.
fn die_silently(netns: &Netns, connection: Connection) {
    netns.output("nft add table inet silence");
    netns.output("nft add chain inet silence output { type filter hook output priority 0 ; }");
    netns.output("nft add rule inet silence output tcp flags rst drop");
    connection.abort();
}
