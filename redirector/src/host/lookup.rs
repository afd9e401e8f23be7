//! Which socket of this host has a packet, by the kernel's own look-up (net/ipv4/inet_diag.c).

use std::{io, net::IpAddr};

use anyhow::{Context as _, Result};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags, Timer},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use redirector_common::{Family, Flow, Protocol};

use super::netlink;

/// Values of a socket's state (include/net/tcp_states.h), and the words that `ss` has for them.
const STATES: [(u8, &str); 12] = [
    (1, "ESTAB"),
    (2, "SYN-SENT"),
    (3, "SYN-RECV"),
    (4, "FIN-WAIT-1"),
    (5, "FIN-WAIT-2"),
    (TIME_WAIT, "TIME-WAIT"),
    (CLOSE, "UNCONN"),
    (8, "CLOSE-WAIT"),
    (9, "LAST-ACK"),
    (LISTEN, "LISTEN"),
    (11, "CLOSING"),
    (12, "SYN-RECV"),
];
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// What the kernel has for a connection that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// No socket, or one that waits for connections.
    None,
    /// One that has ended, and whose addresses a new one may have.
    Ended,
    /// A socket in this state.
    Here(&'static str),
}

/// What the kernel has for a packet of this flow, in the calling thread's network namespace. A connection whose socket is
/// bound to a device is not found.
///
/// # Errors
///
/// The kernel's; it may be built without `inet_diag`.
pub fn connection(flow: &Flow) -> Result<Connection> {
    match look_up(flow) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Connection::None),
        result => result.context("ask for the socket of a flow"),
    }
}

fn look_up(flow: &Flow) -> io::Result<Connection> {
    let (datagram, _) = ask(request(flow), NLM_F_REQUEST)?.recv_from_full()?;
    for message in netlink::messages::<SockDiagMessage>(&datagram) {
        match message?.payload {
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(answer)) => {
                let header = answer.header;
                // What waits for the last packets tells which of two states it is in, and is one to everybody else.
                let waits = matches!(header.timer, Some(Timer::TimeWait));
                return Ok(if waits { Connection::Ended } else { of_state(header.state) });
            }
            _ => {}
        }
    }
    Ok(Connection::None)
}

/// The addresses that sockets of a protocol wait at on a port, each as often as there are sockets.
///
/// # Errors
///
/// The kernel's.
pub fn listening(protocol: Protocol, port: u16) -> Result<Vec<IpAddr>> {
    let (protocol, states) = match protocol {
        Protocol::Tcp => (libc::IPPROTO_TCP, StateFlags::LISTEN),
        Protocol::Udp => (libc::IPPROTO_UDP, StateFlags::CLOSE),
    };
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = InetRequest {
            family: family as u8,
            protocol: protocol as u8,
            extensions: ExtensionFlags::empty(),
            states: states.clone(),
            socket_id: SocketId { source_port: port, ..SocketId::new_v6() },
        };
        netlink::dump_sockets(SockDiagMessage::InetRequest(request), |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer {
                let id = &answer.header.socket_id;
                found.extend((id.source_port == port).then_some(id.source_address));
            }
        })
        .context("list the sockets of a port")?;
    }
    Ok(found)
}

fn ask(request: InetRequest, flags: u16) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut packet = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
    packet.header.flags = flags;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    Ok(socket)
}

fn of_state(state: u8) -> Connection {
    match state {
        LISTEN | CLOSE => Connection::None,
        TIME_WAIT => Connection::Ended,
        state => {
            let word = STATES.iter().find(|(number, _)| *number == state);
            Connection::Here(word.map_or("connected", |(_, word)| word))
        }
    }
}

fn request(flow: &Flow) -> InetRequest {
    // As the socket of a connection has it: its own side is the packet's destination. Of a datagram it is turned round
    // (net/ipv4/udp_diag.c, udp_dump_one: "src and dst are swapped for historical reasons").
    let ends = [(flow.destination, flow.destination_port), (flow.source, flow.source_port)];
    let [(own, own_port), (other, other_port)] = match flow.protocol {
        Protocol::Tcp => ends,
        Protocol::Udp => [ends[1], ends[0]],
    };
    InetRequest {
        family: match flow.family {
            Family::V4 => libc::AF_INET as u8,
            Family::V6 => libc::AF_INET6 as u8,
        },
        protocol: match flow.protocol {
            Protocol::Tcp => libc::IPPROTO_TCP as u8,
            Protocol::Udp => libc::IPPROTO_UDP as u8,
        },
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: own_port,
            destination_port: other_port,
            source_address: own.ip(flow.family),
            destination_address: other.ip(flow.family),
            // Of no interface that is captured: sk_lookup, which the look-up of a listener asks, would count it.
            interface_id: 0,
            // INET_DIAG_NOCOOKIE
            cookie: [0xff; 8],
        },
    }
}
