//! How steered connections end, by FIN and by RST in every state, and how they begin when packets are lost.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use socket2::{SockRef, Socket};

use crate::support::{
    Connection, DEADLINE, Listener, Netns, World, at_each_hook,
    client::{begin, connect},
    frames::{Wire, flag, tcp, with_data},
    in_world,
    snapshot::until,
    world::{FAMILIES, Family, PORT, PROXY_PORT},
};

/// The one route of these tests.
const ROUTES: &[&str] = &["all:8080=proxy:15001"];

/// A port of the client's that no socket has.
const FROM: u16 = 41000;

/// Addresses of nobody and of the node.
fn destinations(family: Family) -> [SocketAddr; 2] {
    [family.service(), family.node()].map(|address| (address, PORT).into())
}

#[test]
fn a_reset_of_either_end_reaches_the_other() {
    at_each_hook(|world| {
        let agent = world.agent(ROUTES);
        for family in FAMILIES {
            let proxy = listening_proxy(world, family);
            for to in destinations(family) {
                let [client, proxys] = connected(world, &proxy, to);
                reset(client);
                assert_is_reset(proxys);
                let [client, proxys] = connected(world, &proxy, to);
                reset(proxys);
                assert_is_reset(client);
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (8, 0));
    });
}

#[test]
fn an_end_that_has_closed_its_direction_gets_all_that_comes_in_the_other() {
    at_each_hook(|world| {
        let agent = world.agent(ROUTES);
        for family in FAMILIES {
            let proxy = listening_proxy(world, family);
            for to in destinations(family) {
                let [client, proxys] = connected(world, &proxy, to);
                assert_flows_after_close(client, proxys);
                let [client, proxys] = connected(world, &proxy, to);
                assert_flows_after_close(proxys, client);
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (8, 0));
    });
}

#[test]
fn a_reset_in_answer_to_the_answer_takes_the_half_open_connection_from_the_proxy() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        let agent = world.agent(ROUTES);
        let wire = Wire::open(&world.client, "to-node");
        // The client's host knows of no such connection, and does not say so.
        discard(&world.client, "output", "tcp flags & rst == rst");
        let half_open = || world.node.output("ss -Htn state syn-recv").lines().count();
        let flows = FAMILIES.into_iter().flat_map(|family| {
            destinations(family).map(|to| (SocketAddr::from((family.client(), FROM)), to))
        });
        for (from, to) in flows.clone() {
            // The first, and the same again.
            for _ in 0..3 {
                wire.send(&tcp(from, to, flag::SYN));
            }
        }
        until("the connections are half open", || (half_open() == 4).then_some(()));
        for (from, to) in flows {
            wire.send(&next_reset(from, to));
        }
        until("no connection is half open", || (half_open() == 0).then_some(()));
        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [0, 0]);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
        // Of each two SYNs more, and the reset.
        assert_eq!(summary.packets("steered", "proxy"), 4);
        assert_eq!((summary.packets("steered", "established"), summary.packets("passed", "local")), (6, 6));
    });
}

#[test]
fn a_reset_that_no_connection_has_passes() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(ROUTES);
        let [wire, seen] = [&world.client, &world.server].map(|netns| Wire::open(netns, "to-node"));
        for family in FAMILIES {
            for flags in [flag::RST, flag::RST | flag::ACK] {
                let from = (family.client(), FROM).into();
                wire.send(&tcp(from, (family.node(), PORT).into(), flags));
                wire.send(&tcp(from, (family.server(), PORT).into(), flags));
                let (reset, _) = seen.segment(|segment| segment.source_port == FROM);
                assert_eq!((reset.rst, reset.ack), (true, flags & flag::ACK != 0));
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.packets("passed", "local"), summary.packets("passed", "not-new")), (4, 4));
        assert_eq!(summary.connections("all"), 0);
        assert!(summary.reasons().iter().all(|reason| reason.starts_with("passed")), "{summary:?}");
    });
}

#[test]
fn a_connection_whose_answer_was_lost_is_counted_once_and_comes_about() {
    in_world(|world| {
        let proxy = world.proxy();
        let agent = world.agent(ROUTES);
        let wire = Wire::open(&world.client, "to-node");
        discard(&world.client, "input", "tcp flags & (syn|ack) == syn|ack");
        let mut streams = Vec::new();
        for (family, port) in FAMILIES.into_iter().zip([FROM, FROM + 2]) {
            for (to, port) in destinations(family).into_iter().zip(port..) {
                streams.push((to, begin(&world.client, (family.client(), port).into(), to)));
            }
        }
        let mut requests = BTreeMap::<u16, usize>::new();
        while requests.len() < 4 || requests.values().any(|times| *times < 2) {
            let (request, _) = wire.segment(|segment| segment.syn && segment.destination_port == PORT);
            *requests.entry(request.source_port).or_default() += 1;
        }
        world.client.output("nft delete table inet discard");
        for (to, stream) in streams {
            let mut connection = Connection::greet(stream).expect("the proxy answers in the end");
            assert_eq!((&*connection.answer.name, connection.answer.destination), ("proxy", to));
            connection.assert_echoes();
        }
        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [2, 2]);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
        assert_eq!(summary.packets("steered", "proxy"), 4);
    });
}

/// The proxy's listener, whose connections the test itself accepts.
fn listening_proxy(world: &World, family: Family) -> Socket {
    let socket = Listener::proxy((family.loopback(), PROXY_PORT)).listen_in(&world.node);
    socket.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
    socket
}

/// Both ends of a connection: the client's and the proxy's.
#[track_caller]
fn connected(world: &World, proxy: &Socket, to: SocketAddr) -> [TcpStream; 2] {
    let client = connect(&world.client, to, DEADLINE).expect("connect");
    let (proxys, _) = proxy.accept().expect("the proxy gets the connection");
    let proxys = TcpStream::from(proxys);
    assert_eq!(proxys.local_addr().expect("a connection has ends"), to);
    assert_eq!(proxys.peer_addr().ok(), client.local_addr().ok());
    for stream in [&client, &proxys] {
        stream.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
        stream.set_write_timeout(Some(DEADLINE)).expect("set a time-out");
    }
    [client, proxys]
}

/// Ends a connection at once.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("have it closed by a reset");
}

#[track_caller]
fn assert_is_reset(mut stream: TcpStream) {
    let error = stream.read(&mut [0]).expect_err("the other end has reset the connection");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Closes the direction from the first end to the second, and asserts that the other one carries on until it is closed.
#[track_caller]
fn assert_flows_after_close(mut closing: TcpStream, mut sending: TcpStream) {
    closing.shutdown(Shutdown::Write).expect("close one direction");
    assert_eq!(sending.read(&mut [0]).expect("read"), 0, "the first end sends no more");
    let sent: Vec<u8> = (0..1_u64 << 17).flat_map(u64::to_ne_bytes).collect();
    let mut received = Vec::new();
    thread::scope(|scope| {
        // Closed when all is written.
        scope.spawn(|| {
            sending.write_all(&sent).expect("write");
            sending.shutdown(Shutdown::Write).expect("close the other direction");
        });
        closing.read_to_end(&mut received).expect("read until the end");
    });
    assert!(received == sent, "{} bytes of {} came", received.len(), sent.len());
}

/// Has a namespace lose what matches, at this hook of netfilter.
fn discard(netns: &Netns, hook: &str, what: &str) {
    netns.output("nft add table inet discard");
    netns.output(&format!("nft add chain inet discard losses {{ type filter hook {hook} priority 0 ; }}"));
    netns.output(&format!("nft add rule inet discard losses {what} drop"));
}

/// The reset that follows the SYN which [`tcp`] makes.
fn next_reset(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut frame = tcp(from, to, flag::RST);
    let sequence = 14 + if to.is_ipv4() { 20 } else { 40 } + 4;
    frame[sequence..sequence + 4].copy_from_slice(&1001_u32.to_be_bytes());
    with_data(frame, b"")
}
