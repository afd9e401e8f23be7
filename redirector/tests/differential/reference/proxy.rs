//! Whether a proxy can take a connection.

use std::net::{IpAddr, SocketAddr};

use redirector::routes::ProxyAddress;
use redirector_common::{Family, Protocol, Reason};

use super::{Flow, Host, Listener};

/// Where the proxy's listener is that takes a new connection of this flow.
///
/// # Errors
///
/// Why there is none.
pub fn available(host: &Host, proxy: &ProxyAddress, flow: &Flow, local: bool) -> Result<SocketAddr, Reason> {
    let address = match flow.family() {
        Family::V4 => proxy.v4.map(IpAddr::V4),
        Family::V6 => proxy.v6.map(IpAddr::V6),
    };
    let at = SocketAddr::new(address.ok_or(Reason::NoListener)?, proxy.port);
    match host.listeners.get(&(flow.protocol, at)) {
        None => Err(Reason::NoListener),
        Some(Listener::DeviceBound) => Err(Reason::DeviceBound),
        Some(Listener::Mptcp) => Err(Reason::MptcpListener),
        // It cannot answer for an address that is not of this host. That of datagrams may answer by another socket.
        Some(Listener::Plain) if !local && flow.protocol == Protocol::Tcp => Err(Reason::NotTransparent),
        Some(Listener::Plain | Listener::Transparent) => Ok(at),
    }
}
