//! The proxies' listeners as the programs will find them, asked without steering anything.

use std::net::IpAddr;

use anyhow::Result;
use redirector_common::{Reason, entries::ProxyEntry};

use crate::{
    agent::report,
    datapath::{Datapath, ListenerAddress, Listening, Marking},
    finding::{Finding, Level},
    host,
    routes::{Compiled, Limits},
};

/// What a proxy's listener can do at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it is looked for.
    pub address: ListenerAddress,
    /// What was found.
    pub listening: Listening,
    /// Whether the proxy takes connections at its address in the other family.
    pub other_listens: bool,
    /// Sockets that wait there: the members of an SO_REUSEPORT group, if they are more than one.
    pub sockets: usize,
}

/// Loads the programs aside and has them look, as the agent does when it starts.
///
/// # Errors
///
/// The programs cannot be loaded or run.
pub fn probe(proxies: &[ProxyEntry]) -> Result<Vec<Probe>> {
    if proxies.is_empty() {
        return Ok(Vec::new());
    }
    let limits = Limits { routes: 1, prefixes: 1, sources: 1, proxies: proxies.len() as u32 };
    // Mark 0: programs with it steer nothing, wherever they were attached.
    let mut datapath = Datapath::load(&limits, Marking::new(0))?;
    datapath.publish(&Compiled { proxies: proxies.to_vec(), ..Compiled::default() })?;
    let mut probes = Vec::new();
    for (slot, proxy) in (0..).zip(proxies) {
        let sockets = host::listening(proxy.protocol(), proxy.port)?;
        let mut own = Vec::new();
        for address in ListenerAddress::of(proxy) {
            own.push((address, datapath.learn(slot, address)?));
        }
        for (index, (address, listening)) in own.iter().enumerate() {
            let mut others = own.iter().enumerate().filter(|(other, _)| *other != index);
            let other_listens = others.any(|(_, (_, listening))| !matches!(listening, Listening::No(_)));
            // At its own address, or at any; a socket of IPv6 may take IPv4 as well.
            let takes = |at: &&IpAddr| **at == address.at.ip() || at.is_unspecified();
            let sockets = sockets.iter().filter(takes).count();
            probes.push(Probe { address: *address, listening: *listening, other_listens, sockets });
        }
    }
    Ok(probes)
}

impl Probe {
    /// The finding with this id.
    pub fn finding(&self, id: &'static str) -> Finding {
        let (level, what, fix) = match self.listening {
            Listening::Ready => (Level::Ok, "listening, transparent", None),
            Listening::Limited(reason) => {
                (Level::Warn, report::what(self.address.protocol, reason), report::hint(reason))
            }
            Listening::No(Reason::NoListener) if self.other_listens => (
                Level::Warn,
                "not listening: new connections of this family get their route's `else`",
                Some("let it listen there too, or name the one address in the route (proxy:ADDRESS:PORT)"),
            ),
            Listening::No(reason @ Reason::NoListener) => (
                Level::Fail,
                report::what(self.address.protocol, reason),
                Some("start it; what comes first after that reaches it"),
            ),
            Listening::No(reason) => {
                (Level::Fail, report::what(self.address.protocol, reason), report::hint(reason))
            }
        };
        let facts = serde_json::json!({
            "address": self.address.at.to_string(),
            "protocol": self.address.protocol.word(),
            "reason": self.reason(),
            "sockets": self.sockets,
        });
        let sockets = if self.sockets > 1 { format!(", {} sockets", self.sockets) } else { String::new() };
        let what = format!("{}: {what}{sockets}", self.address);
        let finding = Finding { level, ..Finding::ok(id, what) }.facts(facts);
        fix.into_iter().fold(finding, Finding::fix)
    }

    /// Why it cannot take every connection.
    pub fn reason(&self) -> Option<&'static str> {
        match self.listening {
            Listening::Ready => None,
            Listening::Limited(reason) | Listening::No(reason) => Some(reason.word()),
        }
    }
}
