//! Notice of what changes on the host.

use anyhow::{Context, Result};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

/// What is watched: multicast groups of the routing socket (include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Interfaces and addresses.
    Interfaces,
    /// What of ours others may change: rules, qdiscs and filters. Not routes, of which a router has very many.
    Ours,
}

impl Watched {
    const fn groups(self) -> &'static [u32] {
        match self {
            // RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
            Self::Interfaces => &[1, 5, 9],
            // RTNLGRP_TC, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE
            Self::Ours => &[4, 8, 19],
        }
    }
}

/// Tells that something changed; what, the caller reads from the kernel. A notice that was lost because the
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
    pub fn new(watched: Watched) -> Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).context("open a routing socket")?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0)).context("bind a routing socket")?;
        for group in watched.groups() {
            inner.add_membership(*group).with_context(|| format!("watch {watched:?}"))?;
        }
        Ok(Self { socket })
    }

    /// Waits until something may have changed.
    pub async fn changed(&mut self) {
        // An error is ENOBUFS: notices were lost, so something changed.
        let _ = self.socket.recv_from_full().await;
    }
}
