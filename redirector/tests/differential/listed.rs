//! The sockets of a namespace, as the kernel lists them in /proc.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
};

use redirector_common::Protocol;

use crate::{
    reference::{Connection, Flow, Listener},
    sockets::proxy,
};

/// States of sockets (include/net/tcp_states.h).
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// The connections, as packets to them are addressed.
pub fn connections() -> HashMap<Flow, Connection> {
    let connections = sockets().into_iter().filter(|socket| !socket.listens()).map(|socket| {
        let flow = Flow {
            protocol: socket.protocol,
            source: socket.remote.ip(),
            destination: socket.local.ip(),
            source_port: socket.remote.port(),
            destination_port: socket.local.port(),
        };
        (flow, if socket.state == TIME_WAIT { Connection::TimeWait } else { Connection::Open })
    });
    connections.collect()
}

/// The listeners. How each listens tells its port.
pub fn listeners() -> HashMap<(Protocol, SocketAddr), Listener> {
    let listeners = sockets().into_iter().filter(Listed::listens).map(|socket| {
        let how = match socket.local.port() {
            proxy::TRANSPARENT | proxy::V4_ONLY => Listener::Transparent,
            proxy::MPTCP => Listener::Mptcp,
            proxy::DEVICE | proxy::UDP_DEVICE => Listener::DeviceBound,
            _ => Listener::Plain,
        };
        ((socket.protocol, socket.local), how)
    });
    listeners.collect()
}

/// A line of the list.
struct Listed {
    protocol: Protocol,
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
}

impl Listed {
    /// Whether it takes what comes from anybody.
    fn listens(&self) -> bool {
        self.state
            == match self.protocol {
                Protocol::Tcp => LISTEN,
                Protocol::Udp => CLOSE,
            }
    }
}

fn sockets() -> Vec<Listed> {
    let mut sockets = Vec::new();
    for (file, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        // Not /proc/net: that is the first thread's.
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("list the sockets");
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            sockets.push(Listed {
                protocol,
                local: address(words[1]),
                remote: address(words[2]),
                state: u8::from_str_radix(words[3], 16).expect("a state"),
            });
        }
    }
    sockets
}

/// An address as it stands there: words in the machine's order, of what is in wire order.
fn address(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').expect("an address and a port");
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).expect("it is text");
        u32::from_str_radix(word, 16).expect("a number").to_ne_bytes()
    });
    let bytes = words.collect::<Vec<_>>().concat();
    let ip: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).expect("four bytes").into(),
        _ => <[u8; 16]>::try_from(bytes).expect("16 bytes").into(),
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).expect("a port"))
}
