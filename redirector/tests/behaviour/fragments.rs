//! Packets in fragments, between hosts: whole to the proxy, or whole past it.

use std::{net::SocketAddr, time::Instant};

use crate::support::{
    DEADLINE, QUIET, World, at_each_hook,
    datagrams::{Client, Datagrams, Receiver},
    frames::{self, Wire, flag},
    in_world,
    napi::receive_in_batches,
    world::{FAMILIES, Family, PORT},
};

/// The route of UDP, and that of TCP.
const ROUTES: [&str; 2] = ["all:udp/8080=proxy:15001", "web:8080=proxy:15001"];

/// Addresses of nobody, of another host, and of the node.
fn destinations(family: Family) -> [SocketAddr; 3] {
    [family.service(), family.server(), family.node()].map(|address| (address, PORT).into())
}

#[test]
fn datagrams_larger_than_the_link_reach_the_proxy_whole() {
    at_each_hook(|world| {
        let proxy = world.datagram_proxy();
        let agent = world.agent(&ROUTES);
        assert_large_datagrams_reach_the_proxy(world);
        assert!(proxy.iter().all(|proxy| proxy.received() == 12), "each of them, and nothing else");
        let summary = agent.stop();
        // Of those to the node the programs see no ports; the look-up takes them.
        assert_eq!((summary.connections("all"), summary.lost("all")), (16, 0));
        assert!(summary.packets("steered", "fragment") > 16, "what is behind the first goes with it");
        assert!(summary.packets("passed", "fragment") > 8, "the node puts its own together");
    });
}

#[test]
fn datagrams_larger_than_the_link_reach_the_proxy_by_napi() {
    in_world(|world| {
        receive_in_batches(world);
        let _proxy = world.datagram_proxy();
        let _agent = world.agent(&ROUTES);
        assert_large_datagrams_reach_the_proxy(world);
    });
}

fn assert_large_datagrams_reach_the_proxy(world: &World) {
    for family in FAMILIES {
        for to in destinations(family) {
            let client = Client::new(&world.client, to);
            for length in [1473, 3000, 20_000, 60_000] {
                let datagram: Vec<u8> = (0..length).map(|at| at as u8).collect();
                client.send(&datagram);
                assert_eq!(
                    client.answer_to(&datagram).expect("the proxy answers"),
                    "proxy",
                    "{length} bytes"
                );
            }
        }
    }
}

#[test]
fn datagrams_larger_than_the_link_pass_whole_where_no_route_leads_to_a_proxy() {
    at_each_hook(|world| {
        let _real = real(world);
        let agent = world.agent(&["leave:udp/8080=pass", "other:udp/8081=proxy:15001"]);
        for family in FAMILIES {
            let client = Client::new(&world.client, (family.server(), PORT));
            let datagram = vec![7; 5000];
            client.send(&datagram);
            assert_eq!(client.answer_to(&datagram).expect("the server answers"), "server");
        }
        assert_eq!(agent.stop().packets("steered", "fragment"), 0);
    });
}

#[test]
fn a_drop_route_drops_every_fragment_whatever_their_order() {
    at_each_hook(|world| {
        let real = real(world);
        let agent = world.agent(&["refuse:udp/8080=drop"]);
        for family in FAMILIES {
            for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
                let client = Client::new(&world.client, (family.server(), PORT));
                client.set_patience(QUIET);
                send(world, &client, &[1; 100], order);
                let error = client.receive().expect_err("nobody answers");
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            }
        }
        assert!(real.iter().all(|server| server.received() == 0), "no part of it arrives as a whole");
        assert_eq!(agent.stop().packets("dropped", "drop-route"), 6);
    });
}

#[test]
fn fragments_out_of_order_go_whole_to_the_proxy_or_whole_past_it() {
    at_each_hook(|world| {
        let (_proxy, _real) = (world.datagram_proxy(), real(world));
        let _agent = world.agent(&ROUTES);
        for family in FAMILIES {
            for (order, foreign) in [
                ([0, 1, 2], "proxy"),
                ([0, 2, 1], "proxy"),
                ([1, 0, 2], "server"),
                ([2, 1, 0], "server"),
                ([2, 0, 1], "server"),
            ] {
                for (address, name) in [(family.server(), foreign), (family.node(), "proxy")] {
                    let client = Client::new(&world.client, (address, PORT));
                    let question = [order[0] as u8; 100];
                    send(world, &client, &question, order);
                    let answers = client.answer_to(&question).expect("somebody answers");
                    assert_eq!(answers, name, "in the order {order:?}, from {address}");
                }
            }
        }
    });
}

#[test]
fn a_fragment_that_comes_twice_does_no_harm() {
    at_each_hook(|world| {
        let _proxy = world.datagram_proxy();
        let _agent = world.agent(&ROUTES);
        for family in FAMILIES {
            let client = Client::new(&world.client, (family.server(), PORT));
            let parts = parts(&client, &[9; 100]);
            let wire = Wire::open(&world.client, "to-node");
            for index in [0, 0, 1, 1, 2] {
                wire.send(&parts[index]);
            }
            assert_eq!(client.answer_to(&[9; 100]).expect("the proxy answers"), "proxy");
        }
    });
}

#[test]
fn a_syn_in_fragments_is_answered_by_the_proxy() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&ROUTES);
        let wire = Wire::open(&world.client, "to-node");
        for family in FAMILIES {
            for to in destinations(family) {
                let from = SocketAddr::new(family.client(), 40_000);
                let frame = frames::with_data(frames::tcp(from, to, flag::SYN), &[5; 60]);
                for part in frames::fragments(&frame, 0x4321, 24) {
                    wire.send(&part);
                }
                assert_synchronized(&wire, to, from);
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("web"), summary.lost("web")), (4, 0));
    });
}

/// Waits for the second step of a handshake.
#[track_caller]
fn assert_synchronized(wire: &Wire, from: SocketAddr, to: SocketAddr) {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        let Some(frame) = wire.receive(DEADLINE) else { break };
        let Ok(packet) = etherparse::SlicedPacket::from_ethernet(&frame) else { continue };
        let Some(etherparse::TransportSlice::Tcp(tcp)) = packet.transport else { continue };
        let is_it = tcp.source_port() == from.port() && tcp.destination_port() == to.port();
        let address: std::net::IpAddr = match packet.net {
            Some(etherparse::NetSlice::Ipv4(ip)) => ip.header().source_addr().into(),
            Some(etherparse::NetSlice::Ipv6(ip)) => ip.header().source_addr().into(),
            _ => continue,
        };
        if is_it && from.ip() == address && tcp.syn() && tcp.ack() {
            return;
        }
    }
    panic!("{from} does not answer");
}

/// Sends a client's datagram in three parts.
fn send(world: &World, client: &Client, datagram: &[u8], order: [usize; 3]) {
    let parts = parts(client, datagram);
    let wire = Wire::open(&world.client, "to-node");
    for index in order {
        wire.send(&parts[index]);
    }
}

fn parts(client: &Client, datagram: &[u8]) -> [Vec<u8>; 3] {
    let frame = frames::udp(client.address, client.to, datagram);
    // The clients' ports differ, and so do these.
    let parts = frames::fragments(&frame, client.address.port(), 40);
    parts.try_into().expect("108 bytes are three parts of 40 at most")
}

fn real(world: &World) -> [Datagrams; 2] {
    FAMILIES.map(|family| Receiver::ordinary((family.server(), PORT)).serve(&world.server, "server"))
}
