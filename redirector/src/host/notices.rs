//! The kernel's notices of interfaces, addresses, and what hangs on interfaces.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::{Interest, unix::AsyncFd};

use super::netlink;
use crate::sys;

/// RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR (include/uapi/linux/rtnetlink.h).
const GROUPS: [u32; 4] = [1, 4, 5, 9];

/// Room for notices that nobody has read yet, in bytes of the kernel's memory, of which it takes what is in use. One of an
/// interface takes about 2 KiB, and one that comes gives rise to ten: so many as come in some seconds.
const ROOM: u32 = 8 << 20;

/// Where notices arrive.
pub struct Notices {
    socket: AsyncFd<Socket>,
}

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// A notice.
    Notice(RouteNetlinkMessage),
    /// There was no room for some: what they told is to be read from the kernel.
    Lost,
}

impl Notices {
    /// Begins to listen in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("open a routing socket")?;
        socket.set_non_blocking(true).context("open a routing socket")?;
        // Without CAP_NET_ADMIN over the host, as in a user namespace, there is as much as net.core.rmem_max allows.
        if sys::force_receive_room(&socket, ROOM).is_err() {
            socket.set_rx_buf_sz(ROOM).context("make room for notices")?;
        }
        socket.bind(&SocketAddr::new(0, 0)).context("bind a routing socket")?;
        for group in GROUPS {
            socket.add_membership(group).context("watch interfaces and addresses")?;
        }
        // SAFETY: the socket keeps its descriptor until it is dropped, and nothing here takes it out.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self { socket: socket.context("wait for notices")? })
    }

    /// Waits until there may be notices.
    pub async fn arrive(&self) {
        // An error is the end of the runtime.
        let _ = self.socket.readable().await;
    }

    /// Takes all that have arrived.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn receive(&self, mut take: impl FnMut(Received)) -> Result<()> {
        loop {
            let received = match self.socket.get_ref().recv_from_full() {
                // The runtime has to hear that there are no more, and may have heard of more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.try_io(Interest::READABLE, Socket::recv_from_full)
                }
                received => received,
            };
            match received {
                Ok((datagram, _)) => {
                    for message in netlink::messages::<RouteNetlinkMessage>(&datagram) {
                        match message.map(|message| message.payload) {
                            Ok(NetlinkPayload::InnerMessage(notice)) => take(Received::Notice(notice)),
                            // One that is not understood is as good as lost.
                            Err(_) => take(Received::Lost),
                            Ok(_) => {}
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => take(Received::Lost),
                Err(error) => return Err(error).context("receive notices"),
            }
        }
    }
}
