//! One request to the kernel's routing tables, or about its sockets, and its answer.
//!
//! Synchronous, so that what was added can be taken away in a destructor.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_ROUTE, NETLINK_SOCK_DIAG},
};

/// Asks for a list.
pub fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut answers = Vec::new();
    request(NETLINK_ROUTE, message, NLM_F_DUMP, |answer| answers.push(answer))?;
    Ok(answers)
}

/// Asks for a list that may be long, and changes while it is told: what is on it may then be missing. It is asked for again,
/// some times, which begins with `None`.
pub fn dump_each(
    message: RouteNetlinkMessage,
    mut take: impl FnMut(Option<RouteNetlinkMessage>),
) -> io::Result<()> {
    for _ in 0..DUMPS {
        take(None);
        if !request(NETLINK_ROUTE, message.clone(), NLM_F_DUMP, |answer| take(Some(answer)))? {
            break;
        }
    }
    Ok(())
}

/// How often a list is asked for that changes each time. What it misses then comes by a notice, or with the next list.
const DUMPS: usize = 4;

/// Asks for a list of sockets. One that comes or goes meanwhile may be on it or not.
pub fn dump_sockets(message: SockDiagMessage, take: impl FnMut(SockDiagMessage)) -> io::Result<()> {
    request(NETLINK_SOCK_DIAG, message, NLM_F_DUMP, take).map(drop)
}

/// Adds a thing that must not exist yet (EEXIST).
pub fn create(message: RouteNetlinkMessage) -> io::Result<()> {
    request(NETLINK_ROUTE, message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, drop).map(drop)
}

/// Does something and waits for the kernel's word that it is done.
pub fn change(message: RouteNetlinkMessage) -> io::Result<()> {
    request(NETLINK_ROUTE, message, NLM_F_ACK, drop).map(drop)
}

/// Whether what was asked for changed while it was told.
fn request<T>(protocol: isize, message: T, flags: u16, mut take: impl FnMut(T)) -> io::Result<bool>
where
    T: NetlinkSerializable + NetlinkDeserializable,
    NetlinkPayload<T>: From<T>,
{
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut interrupted = false;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages::<T>(&datagram) {
            let message = message?;
            interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(interrupted),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(interrupted),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(answer) => take(answer),
                _ => {}
            }
        }
    }
}

/// The messages of a datagram, one behind the other at multiples of four bytes.
pub fn messages<T: NetlinkDeserializable>(
    datagram: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<T>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other);
        let length = message.as_ref().map_or(rest.len(), |message| message.header.length as usize);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
