//! The decision, step by step, in the order in which the programs take them (`ingress` and `decide`).

mod target;

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use redirector_common::{
    Family, Flow, Protocol, Reason, Verdict,
    entries::{OnUnavailable, PortWord},
    lookup::{self, Tables as _},
};

use super::{Place, Step};
use crate::{
    datapath::{Datapath, program},
    host::{self, Connection, Link},
    routes::{
        live::{Live, Match},
        plain,
    },
};

/// What the steps lead to.
pub struct Decided {
    pub verdict: Verdict,
    /// Nothing where no program sees the packet.
    pub reason: Option<Reason>,
    /// The slot of the route that decided, if one did.
    pub route: Option<u32>,
}

/// Names that are said before "and N more".
const NAMED: usize = 3;

/// Goes through the steps.
pub fn walk(
    flow: &Flow,
    place: &Place,
    live: &Live,
    datapath: &mut Datapath,
) -> Result<(Vec<Step>, Decided)> {
    // As the program is asked.
    let ifindex = match place.captured {
        Some((_, Link::Layer3)) | None => 1,
        Some(_) => place.index,
    };
    let mut walk = Walk { flow, ifindex, ended: false, live, datapath, steps: Vec::new() };
    let decided = walk.run(place)?;
    Ok((walk.steps, decided))
}

struct Walk<'a> {
    flow: &'a Flow,
    /// The interface that the packet comes by.
    ifindex: u32,
    /// Whether a connection that has ended was found: the program then takes it that `sk_lookup` is there, which nothing asked.
    ended: bool,
    live: &'a Live,
    datapath: &'a mut Datapath,
    steps: Vec<Step>,
}

impl Walk<'_> {
    fn step(&mut self, what: impl Into<String>, found: impl Into<String>, so: impl Into<String>) {
        self.steps.push(Step { what: what.into(), found: found.into(), so: so.into() });
    }

    fn run(&mut self, place: &Place) -> Result<Decided> {
        let Some((hook, link)) = place.captured else {
            self.step("interface", "not captured", "no program of ours sees it");
            return Ok(Decided { verdict: Verdict::Passed, reason: None, route: None });
        };
        self.step("interface", format!("captured at {hook} by {}", program(link)), "look further");
        let word = self.live.port(self.flow.family, self.flow.protocol, self.flow.destination_port);
        self.port(word);
        if word == PortWord::NONE {
            return Ok(passed(Reason::NoRoute));
        }
        let local = self.datapath.is_local(self.flow.family, &self.flow.destination);
        if let Some(reason) = self.connection(word, local)? {
            return Ok(settled(reason));
        }
        let Some(slot) = lookup::route(self.live, word, self.flow) else {
            self.nothing_matches();
            return Ok(passed(Reason::NoRoute));
        };
        let Some(route) = self.live.route(slot) else { return Ok(passed(Reason::NoRoute)) };
        let (entry, route) = (route.entry, route.route.clone());
        self.matched(slot);
        if let Some(what) = special(self.flow) {
            self.step("addresses", what, "never redirected");
            return Ok(passed(Reason::SpecialAddress));
        }
        let reason = self.target(&route, &entry, local)?;
        if reason == Reason::ProxyPort {
            // The route excludes it.
            return Ok(passed(reason));
        }
        let verdict = reason.verdict(entry.on_unavailable);
        if reason.is_unavailable() {
            let word = match entry.on_unavailable {
                otherwise if otherwise == OnUnavailable::Drop as u8 => "else drop",
                otherwise if otherwise == OnUnavailable::Reset as u8 => "else reset",
                _ => "else pass, the default",
            };
            self.step("unavailable", word, verdict.word());
        }
        Ok(Decided { verdict, reason: Some(reason), route: Some(slot) })
    }

    /// Which routes name the port.
    fn port(&mut self, word: PortWord) {
        let Flow { family, protocol, destination_port: port, .. } = *self.flow;
        let what = format!("port {port}/{}", protocol.word());
        let named = self.live.naming(family, protocol, port);
        let text = match self.names(named.iter().copied()) {
            Some(names) => format!("named by {names}"),
            // One that would have been meant, perhaps.
            None => match self.named_elsewhere() {
                Some(elsewhere) => format!("named by no route for {}; {elsewhere}", family_word(family)),
                None => "named by no route".to_owned(),
            },
        };
        let so = if word == PortWord::NONE { "no route" } else { "look further" };
        self.step(what, text, so);
    }

    fn named_elsewhere(&self) -> Option<String> {
        let Flow { family, protocol, destination_port: port, .. } = *self.flow;
        let other_family = if family == Family::V4 { Family::V6 } else { Family::V4 };
        let other_protocol = if protocol == Protocol::Tcp { Protocol::Udp } else { Protocol::Tcp };
        let here = self.names(self.live.naming(other_family, protocol, port).into_iter());
        let here = here.map(|names| format!("{names} takes {} only", family_word(other_family)));
        here.or_else(|| {
            let names = self.names(self.live.naming(family, other_protocol, port).into_iter())?;
            Some(format!("{names} takes {} only", other_protocol.word()))
        })
    }

    /// Whether a connection is here already; then its reason.
    fn connection(&mut self, word: PortWord, local: bool) -> Result<Option<Reason>> {
        if !(word.is_steered() || word.is_forwarded() && local) {
            return Ok(None);
        }
        let (found, reason) = match host::connection(self.flow)? {
            Connection::None => ("none with these addresses and ports".to_owned(), None),
            Connection::Ended => {
                self.ended = true;
                ("one that has ended (TIME-WAIT)".to_owned(), None)
            }
            Connection::Here(state) => {
                let reason = if local { Reason::Local } else { Reason::Established };
                (format!("here already ({state})"), Some(reason))
            }
        };
        let so = match (reason, self.flow.protocol) {
            (None, _) => "new: a route decides",
            (Some(_), Protocol::Tcp) => "keeps what it got at its SYN",
            (Some(_), Protocol::Udp) => "its socket is connected: no route is asked",
        };
        self.step("connection", found, so);
        Ok(reason)
    }

    /// Why no route matches, though some name the port.
    fn nothing_matches(&mut self) {
        let destination = self.flow.destination.ip(self.flow.family);
        let matches = self.live.matches(self.flow);
        let Some(longest) = matches.first() else {
            self.step("destination", format!("{destination} in none of theirs"), "no route");
            return;
        };
        let names = self.names(unique(matches.iter().map(|found| found.slot)));
        let found = within(destination, &longest.destination);
        self.step("destination", found, format!("look further: {}", names.unwrap_or_default()));
        let source = self.flow.source.ip(self.flow.family);
        self.step("source", format!("{source} in none of theirs"), "no route");
    }

    /// Why this route matches, and what it wins over.
    fn matched(&mut self, slot: u32) {
        let matches: Vec<Match> =
            self.live.matches(self.flow).into_iter().filter(|found| found.has_source).collect();
        let Some(winner) = matches.iter().find(|found| found.slot == slot).copied() else { return };
        let (destination, source) = (
            within(self.flow.destination.ip(self.flow.family), &winner.destination),
            within(self.flow.source.ip(self.flow.family), &winner.source),
        );
        let name = self.name(slot);
        self.step("destination", destination, format!("route {name}"));
        self.step("source", source, "match");
        let losers: Vec<_> = matches.iter().filter(|found| found.slot != slot).copied().collect();
        let mut told = Vec::new();
        for loser in &losers {
            if told.contains(&loser.slot) {
                continue;
            }
            told.push(loser.slot);
            if told.len() <= NAMED {
                let name = self.name(loser.slot);
                self.step("over", format!("route {name}"), why(&winner, loser));
            }
        }
        if told.len() > NAMED {
            self.step("over", format!("{} more routes", told.len() - NAMED), "less specific");
        }
    }

    fn name(&self, slot: u32) -> String {
        self.live.route(slot).map_or_else(|| "?".to_owned(), |slot| slot.route.name.clone())
    }

    fn names(&self, slots: impl Iterator<Item = u32>) -> Option<String> {
        let slots: Vec<u32> = slots.collect();
        let mut names: Vec<String> = slots.iter().take(NAMED).map(|slot| self.name(*slot)).collect();
        let more = slots.len().saturating_sub(NAMED);
        match more {
            0 => {}
            1 => names.push("one more".to_owned()),
            more => names.push(format!("{more} more")),
        }
        let last = names.pop()?;
        Some(if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) })
    }
}

fn passed(reason: Reason) -> Decided {
    Decided { verdict: Verdict::Passed, reason: Some(reason), route: None }
}

/// What has a verdict without a route.
fn settled(reason: Reason) -> Decided {
    Decided { verdict: reason.verdict(OnUnavailable::Pass as u8), ..passed(reason) }
}

/// Why a match wins over another.
fn why(winner: &Match, loser: &Match) -> &'static str {
    if winner.destination.prefix_len() != loser.destination.prefix_len() {
        "its destination is shorter"
    } else if winner.source.prefix_len() != loser.source.prefix_len() {
        "its source is shorter"
    } else if winner.width != loser.width {
        "its port range is wider"
    } else {
        "its origin comes later"
    }
}

/// What kind of address one of the two is, if it is one that is never redirected.
fn special(flow: &Flow) -> Option<String> {
    let of = |address: &redirector_common::Address| {
        address.never_redirected(flow.family).then(|| address.ip(flow.family))
    };
    let address = of(&flow.destination).or_else(|| of(&flow.source))?;
    Some(format!("{address} is loopback, link-local, multicast or reserved"))
}

const fn family_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// An address in a prefix of a route.
fn within(address: IpAddr, prefix: &IpNet) -> String {
    match prefix.prefix_len() {
        0 => "any".to_owned(),
        length if length == prefix.max_prefix_len() => address.to_string(),
        _ => format!("{address} in {}", plain(prefix)),
    }
}

/// Each slot once, in the order in which they come.
fn unique(slots: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
    let mut seen = std::collections::HashSet::new();
    slots.filter(move |slot| seen.insert(*slot))
}
