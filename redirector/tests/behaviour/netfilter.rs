//! Beside NAT: connections that are steered are not translated, and others are as before.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Connection, DEADLINE, Envoy, Listener, Netns, World, ask,
    client::Answer,
    envoy::is_here,
    in_world,
    nat::{TOOLS, Tool, tracked_tcp, tracks},
    snapshot::Snapshot,
    turnover::turn_over_for,
    world::{FAMILIES, Family, PORT, PROXY_PORT},
};

const ROUTES: &[&str] = &["all:8080=proxy:15001"];

/// Ways to live with NAT that protect steered connections from it.
const MODES: [&str; 3] = ["auto", "identity", "notrack"];

#[test]
fn steered_connections_reach_the_proxy_where_nat_was_there_before_the_agent() {
    for (tool, mode) in rows() {
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            world.translate(tool);
            assert_translated(&world.client);
            let agent = world.agent_beside_nat(mode, ROUTES);
            assert_steered_and_others_translated(world);
            let summary = agent.stop();
            assert_eq!([summary.unavailable("all"), summary.lost("all")], [0, 0]);
            assert_translated(&world.client);
        });
    }
}

#[test]
fn steered_connections_reach_the_proxy_where_nat_appears_after_the_agent() {
    for (tool, mode) in rows() {
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            let agent = world.agent_beside_nat(mode, ROUTES);
            for address in FAMILIES.map(|family| family.service()) {
                world.assert_reaches((address, PORT), "proxy");
            }
            world.translate(tool);
            if mode == "auto" {
                for family in FAMILIES {
                    let notice = |line: &str| {
                        line.starts_with("netfilter: NAT here") && line.contains(tool.name(family))
                    };
                    agent.wait_for_nth(1, "that there is NAT", notice);
                }
            }
            assert_steered_and_others_translated(world);
            let summary = agent.stop();
            assert_eq!([summary.unavailable("all"), summary.lost("all")], [0, 0]);
        });
    }
}

#[test]
fn nat_that_goes_takes_the_table_of_the_mode_auto_with_it() {
    in_world(|world| {
        let before = world.node.output("nft list ruleset");
        let agent = world.agent_beside_nat("auto", ROUTES);
        assert_eq!(world.node.output("nft list ruleset"), before, "nothing without NAT");
        for nth in 1..=2 {
            Tool::Nftables.translate(&world.node, service(FAMILIES[0]), server(FAMILIES[0]));
            agent.wait_for_nth(nth, "that there is NAT", |line| line.starts_with("netfilter: NAT here"));
            let tables = world.node.output("nft list tables");
            assert!(tables.contains("table ip redirector"), "{tables}");
            assert!(!tables.contains("table ip6 redirector"), "NAT of IPv4 alone: {tables}");
            assert_eq!(tracks(&world.node), [true, false]);
            world.node.output("nft delete table ip kube-proxy");
            agent.wait_for_nth(nth, "that NAT is gone", |line| line.starts_with("netfilter: no NAT here"));
            assert_eq!(world.node.output("nft list ruleset"), before);
        }
    });
}

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

#[test]
fn agents_leave_no_table_behind_however_they_end() {
    for mode in ["auto", "identity", "notrack", "off"] {
        for nat in [None, Some(Tool::IptablesNft), Some(Tool::IptablesLegacy)] {
            println!("--netfilter {mode}, NAT {nat:?}");
            in_world(|world| {
                let _servers = (world.proxy(), world.real_server(PORT));
                if let Some(tool) = nat {
                    world.translate(tool);
                }
                let before = Snapshot::take(&world.node);
                world.agent_beside_nat(mode, ROUTES).stop();
                before.assert_unchanged(&Snapshot::take(&world.node));
                world.agent_beside_nat(mode, ROUTES).kill();
                assert!(!world.node.output("nft list tables").contains("redirector"));
                world.agent_beside_nat(mode, ROUTES).stop();
                before.assert_unchanged(&Snapshot::take(&world.node));
            });
        }
    }
}

#[test]
fn nobody_else_can_remove_the_table() {
    in_world(|world| {
        let _servers = (world.proxy(), world.real_server(PORT));
        world.translate(Tool::IptablesLegacy);
        let agent = world.agent_beside_nat("auto", ROUTES);
        let ours = world.node.output("nft list table ip redirector");
        world.node.output("nft flush ruleset");
        for command in [
            "nft delete table ip redirector",
            "nft flush table ip redirector",
            "nft add rule ip redirector identity drop",
        ] {
            let (success, _, complaint) = world.node.try_output(command);
            assert!(!success && complaint.contains("Operation not permitted"), "{command}: {complaint}");
        }
        assert_eq!(world.node.output("nft list table ip redirector"), ours);
        assert_steered_and_others_translated(world);
        agent.stop();
    });
}

#[test]
fn envoy_connects_to_the_original_destination_which_nat_then_translates() {
    if !is_here() {
        return;
    }
    for (tool, mode) in rows() {
        in_world(|world| {
            let _real = world.real_server(PORT);
            let envoy = Envoy::start(world);
            world.translate(tool);
            let agent = world.agent_beside_nat(mode, ROUTES);
            for family in FAMILIES {
                for _ in 0..16 {
                    for address in [family.service(), family.node()] {
                        let answer = ask(&world.client, (address, PORT).into()).expect("it is answered");
                        assert_eq!((&*answer.name, answer.destination), ("server", server(family)));
                        // Envoy's own connection, and not one that was forwarded past it.
                        let own = [family.node_to_server(), family.node()];
                        assert!(own.contains(&answer.peer.ip()), "{answer:?}");
                    }
                }
                assert_eq!(envoy.accepted(family), 32);
            }
            let summary = agent.stop();
            assert_eq!([summary.connections("all"), summary.lost("all")], [64, 0]);
        });
    }
}

/// Every tool with every mode.
fn rows() -> impl Iterator<Item = (Tool, &'static str)> {
    let rows = TOOLS.into_iter().flat_map(|tool| MODES.map(|mode| (tool, mode)));
    rows.inspect(|(tool, mode)| println!("{tool:?}, --netfilter {mode}"))
}

fn service(family: Family) -> SocketAddr {
    (family.service(), PORT).into()
}

fn server(family: Family) -> SocketAddr {
    (family.server(), PORT).into()
}

/// Asserts that the client reaches the proxy, and the node itself what NAT makes of its destination.
#[track_caller]
fn assert_steered_and_others_translated(world: &World) {
    for family in FAMILIES {
        for _ in 0..8 {
            world.assert_reaches((family.service(), PORT), "proxy");
            world.assert_reaches((family.node(), PORT), "proxy");
        }
    }
    assert_translated(&world.node);
}

/// Asserts that connections from a namespace are translated.
#[track_caller]
fn assert_translated(from: &Netns) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            let answer = ask(from, (address, PORT).into()).expect("the server answers");
            assert_eq!((&*answer.name, answer.destination), ("server", server(family)), "at {address}");
        }
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
