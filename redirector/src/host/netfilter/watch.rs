//! Notice of NAT that comes and goes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netlink_packet_core::NetlinkPayload;
use netlink_sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER,
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    legacy,
    message::Message,
    nftables::{chain, kind},
};
use crate::host::netlink;

/// NFNLGRP_NFTABLES (include/uapi/linux/netfilter/nfnetlink.h).
const GROUP: u32 = 7;

/// How often /proc is asked for the tables of iptables-legacy, of which nobody gives notice.
const LEGACY: Duration = Duration::from_secs(1);

/// Tells that NAT may have come or gone.
pub struct Watch {
    socket: TokioSocket,
    legacy: Interval,
    seen: Vec<u8>,
}

impl Watch {
    /// Begins to watch the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new() -> Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER).context("open a netfilter socket")?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0)).context("bind a netfilter socket")?;
        inner.add_membership(GROUP).context("watch nft tables")?;
        let mut legacy = interval(LEGACY);
        legacy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { socket, legacy, seen: Vec::new() })
    }

    /// Waits until NAT may have come or gone.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                notice = self.socket.recv_from_full() => match notice {
                    Ok((datagram, _)) if !concerns_base_chains(&datagram) => {}
                    // An error is ENOBUFS: notices were lost, so something changed.
                    _ => return,
                },
                _ = self.legacy.tick() => {
                    let now = legacy::nat();
                    if now != self.seen {
                        self.seen = now;
                        return;
                    }
                }
            }
        }
    }
}

/// kube-proxy writes thousands of chains and rules at a time, and none of those hangs on a hook.
fn concerns_base_chains(datagram: &[u8]) -> bool {
    netlink::messages::<Message>(datagram).any(|message| match message.map(|message| message.payload) {
        Ok(NetlinkPayload::InnerMessage(notice)) => match notice.kind {
            kind::NEW_CHAIN | kind::DELETE_CHAIN => notice.attributes().get(chain::HOOK).is_some(),
            kind::DELETE_TABLE => true,
            _ => false,
        },
        _ => true,
    })
}
