//! The connections of the network namespace.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use redirector_common::Protocol;

use super::netlink;

/// Where the connections end here: of TCP also those that are about to be opened, or were closed a moment ago, of UDP the sockets
/// that are connected.
///
/// # Errors
///
/// The kernel's.
pub fn connections() -> Result<Vec<(Protocol, SocketAddr)>> {
    let mut ends = Vec::new();
    let kinds = [
        (Protocol::Tcp, IPPROTO_TCP, StateFlags::all() - StateFlags::LISTEN),
        (Protocol::Udp, IPPROTO_UDP, StateFlags::ESTABLISHED),
    ];
    for (protocol, number, states) in kinds {
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let extensions = ExtensionFlags::empty();
            let request =
                InetRequest { family, protocol: number, states: states.clone(), extensions, socket_id };
            netlink::dump_sockets(SockDiagMessage::InetRequest(request), |answer| {
                if let SockDiagMessage::InetResponse(response) = answer {
                    let id = response.header.socket_id;
                    // A socket of IPv6 may have connections of IPv4.
                    ends.push((protocol, (id.source_address.to_canonical(), id.source_port).into()));
                }
            })
            .context("list connections")?;
        }
    }
    Ok(ends)
}
