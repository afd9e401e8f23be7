//! The reference: what becomes of a packet, written a second time, from the documents, and simply.
//!
//! It works on plain slices, ranks routes by comparing all of them, and knows nothing of maps, spaces or words. Where the
//! documents leave an order open (a packet that is wrong in two ways has one reason), it is that in which a packet is read:
//! the link, the IP header, what is behind it; then the port, the address, the frame, the connection, the route.

mod answer;
mod extension;
mod fragment;
mod host;
mod icmp;
mod ip;
mod link;
pub mod number;
mod outcome;
mod proxy;
mod route;
mod transport;

use redirector_common::{
    Reason, Verdict,
    entries::{HandoffState, OnUnavailable},
};

pub use answer::sum;
pub use fragment::Memory;
pub use host::{Connection, Host, Interface, Listener};
pub use link::{Link, Packet};
pub use route::{Action, Rule, Rules};
pub use transport::Flow;

use outcome::{carry_out, is_unavailable, verdict};
use transport::Segment;

/// What a packet is to cause, as far as a test run shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub reason: Reason,
    pub verdict: Verdict,
    /// Slot of the route that counts it, and how.
    pub counted: Option<(u32, Counted)>,
    /// What the program returns.
    pub returned: i32,
    pub bytes: Vec<u8>,
    pub mark: u32,
    /// What is handed over to `sk_lookup`.
    pub handed_over: Option<HandedOver>,
}

/// Which of a route's counters moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Connection,
    Unavailable,
}

/// A flow for which `sk_lookup` is to give the proxy's listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOver {
    pub state: HandoffState,
    /// Slots of the route and of its proxy.
    pub route: u32,
    pub proxy: u32,
    pub flow: Flow,
}

/// What becomes of a packet, and why.
#[derive(Clone, Debug)]
struct Decision {
    reason: Reason,
    verdict: Verdict,
    /// Slot of the route that counts it, and how.
    counted: Option<(u32, Counted)>,
    handed_over: Option<HandedOver>,
    /// The interface, where it is sent out of one.
    leaves_by: Option<String>,
    /// Whether no route names the port, whatever the addresses.
    unnamed: bool,
}

impl From<Reason> for Decision {
    fn from(reason: Reason) -> Self {
        let verdict = verdict(reason, OnUnavailable::Pass);
        Self { reason, verdict, counted: None, handed_over: None, leaves_by: None, unnamed: false }
    }
}

impl Decision {
    /// By a route, which counts it if it is asked to.
    fn by(rule: &Rule, reason: Reason, counts: bool) -> Self {
        let count = if is_unavailable(reason) { Counted::Unavailable } else { Counted::Connection };
        let counted = counts.then_some((rule.slot, count));
        Self { verdict: verdict(reason, rule.on_unavailable), counted, ..reason.into() }
    }
}

/// What the packet is to cause on this host, after what is remembered of others.
pub fn expect(host: &Host, memory: &mut Memory, packet: &Packet) -> Expected {
    let (segment, decision) = match look(host, memory, packet) {
        Ok((segment, decision)) => (segment, decision),
        Err(reason) => (None, reason.into()),
    };
    carry_out(host, packet, segment, decision)
}

/// Reads the headers, and decides; the segment is there if the packet, or its first piece, is one.
fn look(host: &Host, memory: &mut Memory, packet: &Packet) -> Result<(Option<Segment>, Decision), Reason> {
    let header = ip::read(packet, packet.family()?)?;
    let Some(piece) = header.piece else {
        let Some(protocol) = number::protocol(header.protocol) else {
            return Ok((None, icmp::decide(host, packet, &header)));
        };
        let segment = transport::read(packet, header, protocol)?.ok_or(Reason::Truncated)?;
        return Ok((Some(segment), decide(host, packet, &segment)));
    };
    if header.protocol == number::ICMP {
        return Err(Reason::OtherProtocol);
    }
    // The host itself puts the pieces together, and then looks for a socket.
    if host.locals.contains(&header.destination) {
        return Err(Reason::Fragment);
    }
    let key = fragment::Key::new(&header, &piece);
    if piece.offset == 0 {
        let protocol = number::protocol(header.protocol).ok_or(Reason::OtherProtocol)?;
        if let Some(segment) = transport::read(packet, header, protocol)? {
            let decision = decide(host, packet, &segment);
            return Ok((Some(segment), fragment::first(memory, key, decision)));
        }
    }
    host.for_us(packet)?;
    let decision = match piece.offset {
        0 => fragment::tiny(memory, key),
        _ => fragment::later(host, memory, key, packet, &header),
    };
    Ok((None, decision))
}

fn decide(host: &Host, packet: &Packet, segment: &Segment) -> Decision {
    let flow = &segment.flow;
    let Some(port) = host.rules.port(flow) else {
        return Decision { unnamed: true, ..Reason::NoRoute.into() };
    };
    let local = host.locals.contains(&flow.destination);
    // To an address of this host an open connection needs nothing.
    if local && !segment.opens() && !port.forwarded {
        return Reason::Local.into();
    }
    if let Err(reason) = host.for_us(packet) {
        return reason.into();
    }
    let here = if port.steered || port.forwarded && local { host.connection(flow) } else { None };
    match here {
        // A new connection may take the place of one that is over.
        Some(Connection::TimeWait) if segment.opens() => new(host, packet, segment, local, true),
        Some(_) if local => Reason::Local.into(),
        Some(_) => Reason::Established.into(),
        None if segment.opens() => new(host, packet, segment, local, host.attached),
        None => other(host, packet, segment, local),
    }
}

/// The first segment of a connection, or a datagram: its route decides.
fn new(host: &Host, packet: &Packet, segment: &Segment, local: bool, attached: bool) -> Decision {
    let flow = &segment.flow;
    let Some(index) = host.rules.winner(flow) else { return Reason::NoRoute.into() };
    let rule = &host.rules.rules[index];
    if host::is_special(flow.source) || host::is_special(flow.destination) {
        return Reason::SpecialAddress.into();
    }
    match &rule.action {
        Action::Pass => Decision::by(rule, Reason::PassRoute, true),
        Action::Drop => Decision::by(rule, Reason::DropRoute, true),
        Action::Interface(name) => to_interface(host, packet, segment, rule, name, true),
        Action::Proxy { address, .. } if address.port == flow.destination_port => Reason::ProxyPort.into(),
        Action::Proxy { .. } if !attached => Decision::by(rule, Reason::Detached, true),
        Action::Proxy { slot, address } => match proxy::available(host, address, flow, local) {
            Ok(_) => {
                let handed_over = hand_over(HandoffState::Steer, rule, *slot, flow);
                Decision { handed_over, ..Decision::by(rule, Reason::Proxy, true) }
            }
            Err(reason) => Decision::by(rule, reason, true),
        },
    }
}

/// Any other segment of which no connection is here.
fn other(host: &Host, packet: &Packet, segment: &Segment, local: bool) -> Decision {
    let flow = &segment.flow;
    let otherwise = if local { Reason::Local } else { Reason::NotNew }.into();
    let Some(index) = host.rules.winner(flow) else { return otherwise };
    let rule = &host.rules.rules[index];
    match &rule.action {
        // Every packet is sent there.
        Action::Interface(_) if host::is_special(flow.source) || host::is_special(flow.destination) => {
            Reason::SpecialAddress.into()
        }
        Action::Interface(name) => to_interface(host, packet, segment, rule, name, false),
        Action::Proxy { slot, address } if !local => match proxy::available(host, address, flow, local) {
            Ok(listener) if host.is_cookie(segment, listener) => {
                let handed_over = hand_over(HandoffState::SynCookie, rule, *slot, flow);
                Decision { handed_over, ..Reason::SynCookie.into() }
            }
            _ => otherwise,
        },
        _ => otherwise,
    }
}

fn to_interface(
    host: &Host,
    packet: &Packet,
    segment: &Segment,
    rule: &Rule,
    name: &str,
    counts: bool,
) -> Decision {
    match host.next_hop(name, packet, segment.header.hops) {
        // The host's to answer, as if there were no route.
        Reason::HopLimit => Reason::HopLimit.into(),
        reason => Decision { leaves_by: Some(name.to_owned()), ..Decision::by(rule, reason, counts) },
    }
}

fn hand_over(state: HandoffState, rule: &Rule, proxy: u32, flow: &Flow) -> Option<HandedOver> {
    Some(HandedOver { state, route: rule.slot, proxy, flow: *flow })
}
