//! What the agent says: to its log while it runs, and a summary to stdout at its end.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Result;
use redirector_common::{Reason, entries::RouteKind};

use super::command::Changed;
use crate::{
    datapath::{Datapath, Hook, Listening, Repair},
    host::{Link, Order},
    routes::{Origin, live::Live},
};

/// A captured interface.
pub fn interface(name: &str, hook: Hook) {
    tracing::info!("interface {name}: captured at {hook} ingress");
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
pub fn proxy(address: SocketAddr, listening: Listening) {
    match listening {
        Listening::Ready => tracing::info!("proxy {address}: listening, transparent"),
        Listening::Limited(reason) | Listening::No(reason) => {
            tracing::info!(hint = hint(reason), "proxy {address}: {}", what(reason));
        }
    }
}

/// What a listener that is not as it should be cannot do.
pub fn what(reason: Reason) -> &'static str {
    match reason {
        Reason::NotTransparent => {
            "listening, not transparent: takes only connections to this host's own addresses"
        }
        Reason::MptcpListener => "listening by MPTCP, which the kernel cannot steer to: takes no connection",
        Reason::DeviceBound => "listening, but bound to a device: takes no connection",
        _ => "not listening yet: new connections get their route's `else` until it does",
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
        Ok(Changed { added, replaced, removed }) => tracing::info!(
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

/// What happened in all.
pub fn summary(datapath: &mut Datapath, live: &Live) -> Result<()> {
    println!("{:<32} {:>12} {:>12} {:>12}", "ROUTE", "CONNECTIONS", "UNAVAILABLE", "LOST");
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
        println!(
            "{:<32} {:>12} {:>12} {:>12}",
            route.route.name, totals.connections, totals.unavailable, lost
        );
    }
    println!("\n{:<10} {:<20} {:>12} {:>14}", "VERDICT", "REASON", "PACKETS", "BYTES");
    for (verdict, reason, count) in datapath.counters()? {
        println!("{:<10} {:<20} {:>12} {:>14}", verdict.word(), reason.word(), count.packets, count.bytes);
    }
    Ok(())
}

/// A number of things.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
