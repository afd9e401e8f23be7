//! The last step: whether the route's target takes the connection.

use std::net::IpAddr;

use anyhow::Result;
use redirector_common::{
    Family, Protocol, Reason,
    entries::{RouteEntry, RouteKind},
};

use super::Walk;
use crate::{
    agent::report,
    datapath::{ListenerAddress, Listening},
    routes::{ProxyAddress, Route, Target},
};

impl Walk<'_> {
    /// Whether the route's target takes the connection.
    pub(super) fn target(&mut self, route: &Route, entry: &RouteEntry, local: bool) -> Result<Reason> {
        let target = route.target.at(self.flow.family).unwrap_or_default();
        let (what, found, so, reason) = match &route.target {
            Target::Pass => ("target".to_owned(), "pass", "left alone", Reason::PassRoute),
            Target::Drop => ("target".to_owned(), "drop", "drop", Reason::DropRoute),
            Target::Interface(_) => {
                let what = format!("interface {target}");
                if self.datapath.next_hop_is_up(entry.target) {
                    (what, "up", "forward", Reason::Interface)
                } else {
                    (what, "down, or there is none", "unavailable", Reason::NoInterface)
                }
            }
            Target::Proxy(proxy) if proxy.port == self.flow.destination_port => {
                let what = "port".to_owned();
                (what, "the proxy's own", "never redirected", Reason::ProxyPort)
            }
            Target::Proxy(proxy) => {
                let what = format!("proxy {target}");
                let (found, reason) = self.proxy(entry.target, proxy, local)?;
                let so = if reason == Reason::Proxy { "steer" } else { "unavailable" };
                (what, found, so, reason)
            }
        };
        debug_assert_eq!(entry.kind == RouteKind::Proxy as u8, matches!(route.target, Target::Proxy(_)));
        self.step(what, found, so);
        Ok(reason)
    }

    fn proxy(&mut self, slot: u32, proxy: &ProxyAddress, local: bool) -> Result<(&'static str, Reason)> {
        if !self.datapath.takes() && !self.ended {
            return Ok(("sk_lookup is detached: nothing would be taken", Reason::Detached));
        }
        let protocol = self.flow.protocol;
        let address = match self.flow.family {
            Family::V4 => proxy.v4.map(IpAddr::V4),
            Family::V6 => proxy.v6.map(IpAddr::V6),
        };
        let Some(address) = address else {
            return Ok((short(protocol, Reason::NoListener), Reason::NoListener));
        };
        let address = ListenerAddress { protocol, at: (address, proxy.port).into() };
        Ok(match self.datapath.learn_by(self.ifindex, slot, address)? {
            Listening::Ready => ("listening, transparent", Reason::Proxy),
            // A datagram reaches it all the same.
            Listening::Limited(Reason::NotTransparent) if protocol == Protocol::Udp => {
                ("listening; not transparent: another socket must answer", Reason::Proxy)
            }
            Listening::Limited(Reason::NotTransparent) if local => {
                ("listening; not transparent, which an address of this host does not need", Reason::Proxy)
            }
            Listening::No(Reason::NoListener)
                if self.datapath.learn(slot, address)? == Listening::No(Reason::DeviceBound) =>
            {
                ("listening, but bound to another device", Reason::NoListener)
            }
            Listening::Limited(reason) | Listening::No(reason) => (short(protocol, reason), reason),
        })
    }
}

/// What stands in the way of a proxy, in as few words as the table has room for.
fn short(protocol: Protocol, reason: Reason) -> &'static str {
    match reason {
        Reason::NoListener => "not listening",
        reason => report::what(protocol, reason),
    }
}
