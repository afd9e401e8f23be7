//! What the agent says: to its log while it runs, and a summary to stdout at its end.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write as _},
    time::{Duration, Instant},
};

use anyhow::Result;
use redirector_common::{
    Protocol, Reason,
    entries::{PacketCount, RouteKind},
};

use super::command::Changed;
use crate::{
    datapath::{Datapath, Hook, ListenerAddress, Listening, Repair},
    host::{Link, Order},
    routes::{Origin, live::Live},
    service,
};

/// A captured interface.
pub fn interface(name: &str, hook: Hook) {
    tracing::info!("interface {name}: captured at {hook} ingress");
}

/// An interface whose program is at another hook now.
pub fn interface_moved(name: &str, hook: Hook) {
    tracing::info!("interface {name}: moved to {hook} ingress");
}

/// An interface that is captured and has become another kind of link.
pub fn interface_adapted(name: &str, link: Link) {
    let what = match link {
        Link::BridgePort(_) => "it is a port of a bridge now: what the bridge carries is redirected too",
        Link::Ethernet | Link::Layer3 => "it is no port of a bridge any more",
    };
    tracing::info!("interface {name}: {what}");
}

/// An interface that was captured and no longer exists.
pub fn interface_gone(name: &str) {
    tracing::info!("interface {name}: gone");
}

/// An interface that was captured and is called otherwise now.
pub fn interface_released(name: &str) {
    tracing::info!("interface {name}: released, for it is none that was asked for any more");
}

/// More came and went than there was room to tell of.
pub fn notices_lost() {
    tracing::info!("notices of interfaces were lost: all of them are looked at");
}

/// Interfaces that routes lead to, and whether they are up now.
pub fn next_hops(changed: &BTreeMap<String, bool>) {
    for (name, up) in changed {
        match up {
            true => tracing::info!("next hop {name}: up"),
            false => tracing::info!(
                "next hop {name}: down, or there is none: packets get their route's `else` until it is up"
            ),
        }
    }
}

/// Numbers that are not the ones asked for, for others have these.
pub fn moved(lines: &[String]) {
    lines.iter().for_each(|line| tracing::info!("{line}"));
}

/// What somebody had changed, and whether it is as it was again.
pub fn repairs(repairs: &[Repair]) {
    for repair in repairs {
        match repair {
            Repair::Done(what) => tracing::info!("repaired: {what}"),
            Repair::Impossible(what) => tracing::warn!("{what}"),
        }
    }
}

/// Rules of others that were before ours.
pub fn order(order: Option<Order>) {
    match order {
        None => {}
        Some(Order::Moved { first, others }) => {
            tracing::info!("repaired: our rules have priority {first} to {} now, before {others}", first + 2);
        }
        Some(Order::Behind(others)) => {
            tracing::warn!(
                hint = "set `rule_priority` to one before them, or to \"auto\", by which ours stay first",
                "asked before our rules, and may lead what is steered elsewhere: {others}"
            );
        }
    }
}

/// What went wrong while traffic is steered: it goes on, and the next change of the host is the next attempt.
pub fn failed(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!("{error:#}");
    }
}

/// A proxy's listener in one family.
pub fn proxy(address: ListenerAddress, listening: Listening) {
    match listening {
        Listening::Ready => tracing::info!("proxy {address}: listening, transparent"),
        Listening::Limited(reason) | Listening::No(reason) => {
            tracing::info!(hint = hint(reason), "proxy {address}: {}", what(address.protocol, reason));
        }
    }
}

/// What a listener that is not as it should be cannot do.
pub fn what(protocol: Protocol, reason: Reason) -> &'static str {
    match (reason, protocol) {
        (Reason::NotTransparent, Protocol::Tcp) => {
            "listening, not transparent: takes only connections to this host's own addresses"
        }
        (Reason::NotTransparent, Protocol::Udp) => {
            "listening, not transparent: takes every datagram, and needs another socket to answer for addresses that are not \
             this host's own"
        }
        (Reason::MptcpListener, _) => {
            "listening by MPTCP, which the kernel cannot steer to: takes no connection"
        }
        (Reason::DeviceBound, _) => "listening, but bound to a device: takes no connection",
        (_, Protocol::Tcp) => "not listening yet: new connections get their route's `else` until it does",
        (_, Protocol::Udp) => "not listening yet: datagrams get their route's `else` until it does",
    }
}

/// What to do about it.
pub fn hint(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::NotTransparent => {
            Some("set IP_TRANSPARENT on the listening socket (Envoy: `transparent: true` in the listener)")
        }
        Reason::MptcpListener => Some("let it listen by TCP (Go: GODEBUG=multipathtcp=0)"),
        Reason::DeviceBound => Some("let it listen without SO_BINDTODEVICE"),
        _ => None,
    }
}

/// The line after which traffic is steered.
pub fn ready(datapath: &Datapath, live: &Live) {
    tracing::info!("ready: {}", standing(datapath, live));
}

/// How much is captured and routed.
pub fn standing(datapath: &Datapath, live: &Live) -> String {
    let routes = live.routes().filter(|(_, slot)| slot.origin != Origin::BuiltIn).count();
    let interfaces = datapath.captured().count();
    format!("{} captured, {}", count(interfaces, "interface"), count(routes, "route"))
}

/// What became of the files.
pub fn reloaded(result: &Result<Changed, String>) {
    match result {
        Ok(Changed { added, replaced, removed, .. }) => tracing::info!(
            "configuration applied: {} added, {} replaced, {} removed",
            count(added.len(), "route"),
            replaced.len(),
            removed.len()
        ),
        Err(errors) => {
            let errors: String = errors.lines().map(|line| format!("\n  {line}")).collect();
            tracing::warn!("configuration refused, and the old routes kept:{errors}");
        }
    }
}

/// Settings that the files say otherwise now than the agent runs with.
pub fn restart(settings: &[&str]) {
    if !settings.is_empty() {
        tracing::warn!("changed in the files, and in force after a restart only: {}", settings.join(", "));
    }
}

/// How far the end has come.
pub struct Progress {
    /// When it is said next.
    next: Instant,
}

impl Progress {
    /// Nothing is said of an end that takes no longer than this.
    const QUICK: Duration = Duration::from_millis(200);
    /// From one line to the next.
    const PAUSE: Duration = Duration::from_secs(1);

    /// It begins.
    pub fn begin() -> Self {
        Self { next: Instant::now() + Self::QUICK }
    }

    /// So many interfaces are left. Now and then that is said, also to the service manager, which waits as long as it is told so.
    pub fn left(&mut self, interfaces: usize) {
        if interfaces == 0 || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + Self::PAUSE;
        let left = count(interfaces, "interface");
        tracing::info!(
            "ending: nothing is redirected any more; the kernel has {left} left to take the program off"
        );
        failed(service::ending(&left, Self::PAUSE * 10));
    }
}

/// What happened in all.
pub fn summary(datapath: &mut Datapath, live: &Live) -> Result<()> {
    // Line by line, a hundred thousand routes would take as many system calls.
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "{:<32} {:>12} {:>12} {:>12}", "ROUTE", "CONNECTIONS", "UNAVAILABLE", "LOST")?;
    for (slot, route) in live.routes() {
        let totals = datapath.route_totals(slot)?;
        if route.origin == Origin::BuiltIn && totals.connections == 0 {
            continue;
        }
        let lost = if route.entry.kind == RouteKind::Proxy as u8 {
            totals.connections.saturating_sub(totals.taken)
        } else {
            0
        };
        let name = &route.route.name;
        writeln!(out, "{name:<32} {:>12} {:>12} {lost:>12}", totals.connections, totals.unavailable)?;
    }
    writeln!(out, "\n{:<10} {:<20} {:>12} {:>14}", "VERDICT", "REASON", "PACKETS", "BYTES")?;
    for (verdict, reason, count) in datapath.counters()? {
        let (verdict, reason, PacketCount { packets, bytes }) = (verdict.word(), reason.word(), count);
        writeln!(out, "{verdict:<10} {reason:<20} {packets:>12} {bytes:>14}")?;
    }
    Ok(out.flush()?)
}

/// A number of things.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
