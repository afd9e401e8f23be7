//! The host's UDP sockets: whether those of a proxy are transparent, and at which ports answers to others arrive.
//!
//! Of a UDP socket no program can read the IP_TRANSPARENT flag as it does of a TCP listener: the kernel gives its type away for
//! IPv6 only (net/core/filter.c, bpf_skc_to_udp6_sock).

use std::{fs, io, net::SocketAddr};

use anyhow::{Context as _, Result};
use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};

use super::netlink;
use crate::routes::PortRange;

/// The ports that sockets of this host get which ask for none.
const LOCAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Whether every socket that takes datagrams to an address of this host is transparent, so that its owner can answer
/// by it from another address. Several may share the address (SO_REUSEPORT).
///
/// # Errors
///
/// The kernel's: ENOENT where it cannot tell (CONFIG_INET_UDP_DIAG).
pub fn is_transparent(address: SocketAddr) -> io::Result<bool> {
    let mut found = Vec::new();
    if address.is_ipv4() {
        found = at(AF_INET, address)?;
    }
    if found.is_empty() {
        found = at(AF_INET6, address)?;
    }
    Ok(found.iter().all(is_flagged))
}

/// The unconnected sockets of a family that take datagrams to an address: those that are bound to it, or else those
/// that are bound to all addresses (net/ipv4/udp.c, compute_score).
fn at(family: u8, address: SocketAddr) -> io::Result<Vec<InetResponse>> {
    let id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest {
        family,
        protocol: IPPROTO_UDP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::CLOSE,
        socket_id: SocketId { source_port: address.port(), ..id },
    };
    let (mut bound, mut any) = (Vec::new(), Vec::new());
    netlink::dump_sockets(SockDiagMessage::InetRequest(request), |answer| {
        let SockDiagMessage::InetResponse(socket) = answer else { return };
        let own = socket.header.socket_id.source_address.to_canonical();
        if own == address.ip() {
            bound.push(*socket);
        } else if own.is_unspecified() && !(address.is_ipv4() && is_v6_only(&socket)) {
            any.push(*socket);
        }
    })?;
    Ok(if bound.is_empty() { any } else { bound })
}

/// An attribute that the library does not name (include/uapi/linux/inet_diag.h).
const INET_DIAG_SOCKOPT: u16 = 22;

/// The bit of `transparent` in the first byte of `struct inet_diag_sockopt`: fields are laid out from the first in memory on.
const TRANSPARENT: u8 = if cfg!(target_endian = "little") { 1 << 5 } else { 1 << 2 };

/// Nothing is said against one of which the kernel does not tell.
fn is_flagged(socket: &InetResponse) -> bool {
    attribute(socket, INET_DIAG_SOCKOPT).is_none_or(|options| options & TRANSPARENT != 0)
}

fn is_v6_only(socket: &InetResponse) -> bool {
    attribute(socket, INET_DIAG_SKV6ONLY).is_some_and(|only| only != 0)
}

/// The first byte of an attribute.
fn attribute(socket: &InetResponse, kind: u16) -> Option<u8> {
    let nla = socket.nlas.iter().find(|nla| nla.kind() == kind)?;
    let mut value = vec![0; nla.value_len()];
    nla.emit_value(&mut value);
    value.first().copied()
}

/// The ports at which the answers arrive to this network namespace's own sockets.
///
/// # Errors
///
/// There is no /proc, or something else in it.
pub fn local_ports() -> Result<PortRange> {
    let text = fs::read_to_string(LOCAL_PORTS).with_context(|| format!("read {LOCAL_PORTS}"))?;
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(PortRange::new(first, last)?),
        _ => anyhow::bail!("{LOCAL_PORTS} has no range of ports: {text:?}"),
    }
}
