//! Sockets beside those of the table of verdicts: of UDP, and of clients without Ethernet headers.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::{
    sockets::{port, proxy, taken},
    support::{
        Netns,
        world::{FAMILIES, Family},
    },
};

/// They stay open while packets are run.
pub struct Others {
    _sockets: Vec<Socket>,
}

impl Others {
    /// In the namespace, which is that of the calling thread.
    pub fn new(netns: &Netns) -> Self {
        netns.ip("address add 8.0.0.2/32 dev lo\naddress add 2001:db8:86dd::2/128 dev lo nodad");
        let mut sockets = Vec::new();
        for family in FAMILIES {
            let own = |port| SocketAddr::new(family.loopback(), port);
            sockets.push(bound(Type::DGRAM, own(proxy::PLAIN)));
            let device = bound(Type::DGRAM, own(proxy::DEVICE));
            device.bind_device(Some(b"lo")).expect("bind to a device");
            sockets.push(device);
            if family == Family::V4 {
                sockets.push(bound(Type::DGRAM, own(proxy::V4_ONLY)));
            }
            // Nobody is connected to this one.
            sockets.push(bound(Type::DGRAM, (taken(family), 8088).into()));
            sockets.push(bound(Type::DGRAM, (family.node(), 8080).into()));
            for (client, server) in [
                (family.client(), (taken(family), 8080)),
                (family.client(), (taken(family), 8090)),
                (family.client(), (family.node(), 8081)),
                (bare_client(family), (taken(family), 8080)),
            ] {
                let socket = bound(Type::DGRAM, server.into());
                let client = SocketAddr::new(client, port::ESTABLISHED);
                socket.connect(&client.into()).unwrap_or_else(|error| panic!("connect to {client}: {error}"));
                sockets.push(socket);
            }
            for server in [(taken(family), 8080), (family.node(), 8080)].map(SocketAddr::from) {
                let socket = bound(Type::STREAM, (bare_client(family), port::ESTABLISHED).into());
                socket.connect(&server.into()).unwrap_or_else(|error| panic!("connect to {server}: {error}"));
                sockets.push(socket);
            }
        }
        Self { _sockets: sockets }
    }
}

/// A client with whose packets a test run does as with those of its family: it reads the type of a frame where the first bytes
/// of the source are here.
fn bare_client(family: Family) -> IpAddr {
    match family {
        Family::V4 => [8, 0, 0, 2].into(),
        Family::V6 => [0x2001, 0xdb8, 0x86dd, 0, 0, 0, 0, 2].into(),
    }
}

fn bound(kind: Type, at: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(at), kind, None).expect("make a socket");
    socket.set_reuse_address(true).expect("set SO_REUSEADDR");
    if at.is_ipv6() {
        socket.set_only_v6(true).expect("set IPV6_V6ONLY");
    }
    socket.bind(&at.into()).unwrap_or_else(|error| panic!("bind to {at}: {error}"));
    socket
}
