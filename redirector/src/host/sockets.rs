//! The TCP connections of the network namespace.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};

use super::netlink;

/// Where the connections end here, also those that are about to be opened, or were closed a moment ago.
///
/// # Errors
///
/// The kernel's.
pub fn connections() -> Result<Vec<SocketAddr>> {
    let mut ends = Vec::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all() - StateFlags::LISTEN,
            socket_id,
        };
        netlink::dump_sockets(SockDiagMessage::InetRequest(request), |answer| {
            if let SockDiagMessage::InetResponse(response) = answer {
                let id = response.header.socket_id;
                // A socket of IPv6 may have connections of IPv4.
                ends.push((id.source_address.to_canonical(), id.source_port).into());
            }
        })
        .context("list connections")?;
    }
    Ok(ends)
}
