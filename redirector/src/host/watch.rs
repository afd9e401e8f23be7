//! Notice of rules that come and go.

use anyhow::{Context, Result};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

/// RTNLGRP_IPV4_RULE and RTNLGRP_IPV6_RULE (include/uapi/linux/rtnetlink.h). Not routes, of which a router has very
/// many.
const GROUPS: [u32; 2] = [8, 19];

/// Tells that a rule came or went; which, the caller reads from the kernel. A notice that was lost because the
/// socket's buffer was full is therefore no loss.
pub struct Watch {
    socket: TokioSocket,
}

impl Watch {
    /// Begins to watch the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new() -> Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).context("open a routing socket")?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0)).context("bind a routing socket")?;
        for group in GROUPS {
            inner.add_membership(group).context("watch rules")?;
        }
        Ok(Self { socket })
    }

    /// Waits until something may have changed.
    pub async fn changed(&mut self) {
        // An error is ENOBUFS: notices were lost, so something changed.
        let _ = self.socket.recv_from_full().await;
    }
}
