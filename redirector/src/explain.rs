//! Why a connection is, or is not, redirected: the decision of the programs, walked step by step over the routes and the
//! host as the agent knows them, and held against what the loaded program says of that very packet.

mod packet;
mod walk;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use redirector_common::{Address, Family, Flow, Protocol, Reason, Verdict};

use crate::{
    datapath::{Datapath, Hook},
    host::Link,
    routes::{Origin, live::Live},
};

/// A new connection, and where its first packet comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Who opens it. Port 0: any port that is nobody's.
    pub source: SocketAddr,
    /// Where it goes, of the same family.
    pub destination: SocketAddr,
    /// Name of the interface.
    pub interface: String,
}

/// An interface, as far as the answer depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub index: u32,
    /// Its MAC address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Where it is captured, and the kind of link that the program there is for; nothing if it is not.
    pub captured: Option<(Hook, Link)>,
}

/// What becomes of the connection, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was asked, with a port for the source.
    pub question: Question,
    /// What was looked at, in the order of the programs.
    pub steps: Vec<Step>,
    /// What the steps lead to.
    pub outcome: Outcome,
    /// What the loaded program says; nothing where none sees the packet.
    pub program: Option<Program>,
}

/// One thing that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub what: String,
    /// What is there.
    pub found: String,
    /// What follows.
    pub so: String,
}

/// What a connection gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it gets.
    pub verdict: Verdict,
    /// Why; nothing where no program sees it.
    pub reason: Option<Reason>,
    /// Origin and name of the route that decides, if one does.
    pub route: Option<(Origin, String)>,
    /// Where it goes, if it does: as `127.0.0.1:15001` or `veth7`.
    pub target: Option<String>,
}

/// What a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program that was asked.
    pub name: &'static str,
    /// What it gives the packet.
    pub outcome: Outcome,
    /// Whether that is what the steps lead to.
    pub agrees: bool,
}

/// Ports that are tried for a connection that was asked about without its own: those of nobody in particular
/// (RFC 6335, 6), of which the first is taken that no connection has.
const ANY_PORT: std::ops::RangeInclusive<u16> = 49_152..=49_200;

/// Explains. `place` is the interface that is asked about.
///
/// # Errors
///
/// The kernel did not say what it has.
pub fn explain(
    mut question: Question,
    place: &Place,
    live: &Live,
    datapath: &mut Datapath,
) -> Result<Explanation> {
    if question.source.port() == 0 {
        for port in ANY_PORT {
            question.source.set_port(port);
            if crate::host::connection(&question.flow())? == crate::host::Connection::None {
                break;
            }
        }
    }
    let flow = question.flow();
    let (steps, decided) = walk::walk(&flow, place, live, datapath)?;
    let outcome = outcome(live, &flow, decided.verdict, decided.reason, decided.route);
    let program = match place.captured {
        None => None,
        Some((_, link)) => {
            let frame = packet::opening(&flow, place.mac.unwrap_or_default(), link);
            let (name, answer) = datapath.ask(link, place.index, &frame)?;
            let says = self::outcome(live, &flow, answer.verdict, Some(answer.reason), answer.route);
            let agrees = (answer.verdict, Some(answer.reason), answer.route)
                == (decided.verdict, decided.reason, decided.route);
            Some(Program { name, outcome: says, agrees })
        }
    };
    Ok(Explanation { question, steps, outcome, program })
}

fn outcome(live: &Live, flow: &Flow, verdict: Verdict, reason: Option<Reason>, slot: Option<u32>) -> Outcome {
    let slot = slot.and_then(|slot| live.route(slot));
    let goes = matches!(verdict, Verdict::Steered | Verdict::Balanced | Verdict::Forwarded);
    Outcome {
        verdict,
        reason,
        route: slot.map(|slot| (slot.origin, slot.route.name.clone())),
        target: slot.filter(|_| goes).and_then(|slot| slot.route.target.at(flow.family)),
    }
}

impl Question {
    /// What its route is chosen by.
    pub fn flow(&self) -> Flow {
        let (family, source) = entry(self.source.ip());
        Flow {
            family,
            protocol: self.protocol,
            source,
            destination: entry(self.destination.ip()).1,
            source_port: self.source.port(),
            destination_port: self.destination.port(),
        }
    }
}

fn entry(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(address) => (Family::V4, Address::v4(address.octets())),
        IpAddr::V6(address) => (Family::V6, Address::v6(address.octets())),
    }
}
