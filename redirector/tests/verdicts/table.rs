//! The rows of the table: a packet, and all that it is to cause.

use redirector_common::{Reason, Verdict, entries::HandoffState};

use crate::packet::Packet;

/// A row.
pub struct Row {
    pub name: String,
    pub packet: Packet,
    pub expected: Expected,
}

/// A row of the table.
pub fn case(name: impl Into<String>, packet: Packet, expected: Expected) -> Row {
    Row { name: name.into(), packet, expected }
}

/// What a packet is to cause, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The route that counts a connection, and how.
    pub route: Option<(&'static str, Counted)>,
    /// What is handed over: for which route, to the proxy with which port.
    pub handoff: Option<(HandoffState, &'static str, u16)>,
}

/// Which of a route's counters moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Connection,
    Unavailable,
}

/// The packet goes on, untouched.
pub fn passed(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Passed, reason, route: None, handoff: None }
}

/// The packet is dropped.
pub fn dropped(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Dropped, ..passed(reason) }
}

/// The packet is answered with a reset.
pub fn reset(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Reset, ..passed(reason) }
}

/// The packet is sent out of another interface, with a hop less to live.
pub fn forwarded() -> Expected {
    Expected { verdict: Verdict::Forwarded, ..passed(Reason::Interface) }
}

/// The packet is marked and no more.
pub fn marked(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Steered, ..passed(reason) }
}

/// A new connection by this route goes to the proxy with this port.
pub fn to_proxy(route: &'static str, port: u16) -> Expected {
    let handoff = Some((HandoffState::Steer, route, port));
    Expected { handoff, ..marked(Reason::Proxy).connection(route) }
}

/// The ACK of a cookie goes to the proxy with this port.
pub fn by_cookie(route: &'static str, port: u16) -> Expected {
    Expected { handoff: Some((HandoffState::SynCookie, route, port)), ..marked(Reason::SynCookie) }
}

impl Expected {
    /// The route counts a connection that got its target.
    pub fn connection(self, route: &'static str) -> Self {
        Self { route: Some((route, Counted::Connection)), ..self }
    }

    /// The route counts a connection that its target could not take.
    pub fn unavailable(self, route: &'static str) -> Self {
        Self { route: Some((route, Counted::Unavailable)), ..self }
    }
}
