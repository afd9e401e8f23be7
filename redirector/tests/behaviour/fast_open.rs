//! TCP Fast Open: connections whose SYN has data.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Connection, DEADLINE, World, at_each_hook,
    frames::Wire,
    world::{FAMILIES, PORT},
};

#[test]
fn data_in_a_syn_reaches_the_proxy_with_its_connection() {
    at_each_hook(|world| {
        // One may open so; the listeners of the other answer so, each of them (Documentation/networking/ip-sysctl.rst:
        // 1, and 0x2 with 0x400).
        world.client.set_sysctl("ipv4/tcp_fastopen", "1");
        world.node.set_sysctl("ipv4/tcp_fastopen", "1026");
        let proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.server(), family.node()] {
                let to = (address, PORT).into();
                assert_eq!(
                    data_in_syn(world, (family.client(), 41001).into(), to),
                    0,
                    "{to}: it has no cookie"
                );
                assert_ne!(data_in_syn(world, (family.client(), 41002).into(), to), 0, "{to}: it has one");
            }
        }
        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [6, 6]);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (12, 0));
        assert_eq!(summary.packets("steered", "proxy"), 12);
    });
}

/// Sends the first bytes with the request for a connection, asserts that the proxy takes them and sends them back, and
/// returns how many were in the SYN.
#[track_caller]
fn data_in_syn(world: &World, from: SocketAddr, to: SocketAddr) -> usize {
    let wire = Wire::open(&world.client, "to-node");
    let stream = world.client.run(|| open_with(from, to, from.to_string().as_bytes()));
    let stream = stream.unwrap_or_else(|error| panic!("open a connection to {to} with data: {error}"));
    let mut connection = Connection::greet(stream).expect("the proxy greets");
    let answer = &connection.answer;
    assert_eq!((&*answer.name, answer.destination, answer.peer), ("proxy", to, from));
    connection.assert_comes_back();

    let (syn, data) = wire.segment(|segment| segment.syn && segment.source_port == from.port());
    let (answer, _) = wire.segment(|segment| segment.syn && segment.destination_port == from.port());
    let taken = answer.acknowledgment_number.wrapping_sub(syn.sequence_number).wrapping_sub(1);
    assert_eq!(usize::try_from(taken).ok(), Some(data.len()), "{to}: the SYN's answer takes all that it had");
    data.len()
}

fn open_with(from: SocketAddr, to: SocketAddr, data: &[u8]) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.set_write_timeout(Some(DEADLINE))?;
    socket.send_to_with_flags(data, &to.into(), libc::MSG_FASTOPEN)?;
    Ok(socket.into())
}
