//! What becomes of a packet to a port that a route names.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use redirector_common::{
    Address, Family, Flow, Protocol, Reason, Verdict,
    entries::{OnUnavailable, PortWord, RouteEntry, RouteKind},
};

use crate::{
    answer, handoff, locals, next_hop,
    packet::Segment,
    proxy, route,
    socket::{Socket, state},
};

/// What becomes of a packet, why, and the route that it concerns.
pub struct Outcome {
    pub reason: Reason,
    pub verdict: Verdict,
    /// The route's slot, where it decided a new connection.
    pub route: Option<u32>,
    /// The slot in `NEXT_HOPS`, where that is the target.
    pub next_hop: u8,
}

/// What is known of a packet that no connection of this host has.
#[derive(Clone, Copy)]
pub struct Place {
    /// Whether its destination is known as this host's.
    local: bool,
    /// Whether `sk_lookup` is there, as far as was asked.
    attached: bool,
}

/// Whether the address is this host's, for a packet that needs something from us.
///
/// # Errors
///
/// It needs nothing: anything but a SYN belongs to a connection that was decided before, unless every packet is sent
/// somewhere. To an address of this host this is where most of them are done with.
#[inline(always)]
pub fn local(family: Family, destination: &Address, word: PortWord, opens: bool) -> Result<bool, Reason> {
    let local = locals::contains(family, destination);
    if local && !opens && !word.is_forwarded() { Err(Reason::Local) } else { Ok(local) }
}

/// Whether a connection of this host has the packet: what it got at its SYN it keeps. A SYN is a retransmission then. A datagram
/// is that of a socket which is connected.
///
/// # Errors
///
/// The reason that this is. Inlined, unlike what follows, for most packets of steered connections end here.
#[inline(always)]
pub fn place(ctx: &TcContext, segment: &Segment, word: PortWord, local: bool) -> Result<Place, Reason> {
    let asks = word.is_steered() || word.is_forwarded() && local;
    if !asks {
        return Ok(Place { local, attached: true });
    }
    let flow = segment.flow();
    let holder = match flow.protocol {
        Protocol::Tcp => Holder::of_segment(ctx, &flow, segment.opens()),
        Protocol::Udp => Holder::unpack(connected(ctx.skb.skb, segment)),
    };
    match holder {
        Holder::Nobody { attached } => Ok(Place { local, attached }),
        Holder::Connection if local => Err(Reason::Local),
        Holder::Connection => Err(Reason::Established),
    }
}

/// Who has a flow.
enum Holder {
    /// A connection or a connected socket of this host.
    Connection,
    /// None of these; and whether `sk_lookup` was asked for another and was there, as far as that is known.
    Nobody { attached: bool },
}

impl Holder {
    #[inline(always)]
    fn of_segment(ctx: &TcContext, flow: &Flow, opens: bool) -> Self {
        let (socket, attached) = handoff::probe(|| Socket::find(ctx, Protocol::Tcp, flow));
        match socket.map(|socket| socket.state()) {
            None | Some(state::LISTEN | state::CLOSE) => Self::Nobody { attached },
            // Found before any listener: sk_lookup was not asked.
            Some(state::TIME_WAIT) if opens => Self::Nobody { attached: true },
            Some(_) => Self::Connection,
        }
    }

    #[inline(always)]
    fn of_datagram(ctx: &TcContext, flow: &Flow) -> Self {
        let (socket, attached) = handoff::probe(|| Socket::find(ctx, Protocol::Udp, flow));
        match socket.map(|socket| socket.state()) {
            None | Some(state::CLOSE) => Self::Nobody { attached },
            Some(_) => Self::Connection,
        }
    }

    /// As the one number that a global function can return.
    #[inline(always)]
    fn pack(self) -> u32 {
        match self {
            Self::Nobody { attached } => attached as u32,
            Self::Connection => 2,
        }
    }

    #[inline(always)]
    fn unpack(packed: u32) -> Self {
        if packed == 2 { Self::Connection } else { Self::Nobody { attached: packed != 0 } }
    }
}

/// The [`Holder`] of a datagram's flow. Global for the verifier's sake, as [`decide`]; TCP's is not, for it is asked more often.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn connected(ctx: *mut __sk_buff, segment: *const Segment) -> u32 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else {
        return Holder::Nobody { attached: true }.pack();
    };
    Holder::of_datagram(&TcContext::new(ctx), &segment.flow()).pack()
}

/// What becomes of a packet that no connection of this host has, and why.
#[inline(always)]
pub fn outcome(ctx: &TcContext, segment: &Segment, word: PortWord, place: Place) -> Outcome {
    Outcome::unpack(decide(ctx.skb.skb, segment, word.0, place.pack()))
}

/// Global, so that the verifier goes through it once for all ways that lead here, rather than once for each
/// (Documentation/bpf: functions are verified independently where BTF says that they are global).
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn decide(ctx: *mut __sk_buff, segment: *const Segment, word: u32, place: u32) -> u64 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else {
        return Outcome::from(Reason::NoRoute).pack();
    };
    let (ctx, word) = (&TcContext::new(ctx), PortWord(word));
    let Ok(place) = Place::unpack(place) else {
        return Outcome::from(Reason::NoRoute).pack();
    };
    let outcome = if segment.opens() {
        new_connection(ctx, segment, word, place)
    } else {
        existing_connection(ctx, segment, word, place.local)
    };
    match outcome.verdict {
        Verdict::Reset if !answer::is_due(segment) => Outcome { verdict: Verdict::Dropped, ..outcome }.pack(),
        _ => outcome.pack(),
    }
}

/// A SYN of a connection that no socket has, or a datagram: the route decides.
#[inline(always)]
fn new_connection(
    ctx: &TcContext,
    segment: &Segment,
    word: PortWord,
    Place { local, attached }: Place,
) -> Outcome {
    let Some((slot, entry)) = route::find_for(word, segment) else {
        return Reason::NoRoute.into();
    };
    if segment.flow().never_redirected() {
        return Reason::SpecialAddress.into();
    }
    let reason = match entry.kind {
        kind if kind == RouteKind::Drop as u8 => Reason::DropRoute,
        kind if kind == RouteKind::Interface as u8 => {
            return to_next_hop(ctx, segment, &entry, Some(slot));
        }
        kind if kind == RouteKind::Proxy as u8 => {
            if proxy::is_own_port(&entry, segment.destination_port()) {
                // The route excludes it, and so does not count it.
                return Reason::ProxyPort.into();
            }
            to_proxy(ctx, segment, slot, &entry, local, attached)
        }
        _ => Reason::PassRoute,
    };
    Outcome::by_route(reason, &entry, Some(slot))
}

#[inline(always)]
fn to_proxy(
    ctx: &TcContext,
    segment: &Segment,
    slot: u32,
    entry: &RouteEntry,
    local: bool,
    attached: bool,
) -> Reason {
    if !attached {
        return Reason::Detached;
    }
    match proxy::steer(ctx, segment, slot, entry, local) {
        Ok(()) => Reason::Proxy,
        Err(reason) => reason,
    }
}

/// Any packet of a route to an interface; the route is given where it counts a connection.
#[inline(always)]
fn to_next_hop(ctx: &TcContext, segment: &Segment, entry: &RouteEntry, route: Option<u32>) -> Outcome {
    match next_hop::check(ctx, segment, segment.family(), entry.target) {
        // The host's to answer, as if there were no route.
        Reason::HopLimit => Reason::HopLimit.into(),
        reason => Outcome::by_route(reason, entry, route),
    }
}

/// Anything but a SYN, of a connection that no socket here has.
#[inline(always)]
fn existing_connection(ctx: &TcContext, segment: &Segment, word: PortWord, local: bool) -> Outcome {
    let otherwise = if local { Reason::Local } else { Reason::NotNew };
    if !word.is_forwarded() && !segment.acknowledges() {
        return otherwise.into();
    }
    let Some((slot, entry)) = route::find_for(word, segment) else {
        return otherwise.into();
    };
    if entry.kind == RouteKind::Interface as u8 {
        if segment.flow().never_redirected() {
            return Reason::SpecialAddress.into();
        }
        return to_next_hop(ctx, segment, &entry, None);
    }
    if entry.kind == RouteKind::Proxy as u8 && !local && segment.acknowledges() {
        return match proxy::steer_cookie(ctx, segment, slot, &entry) {
            Ok(()) => Reason::SynCookie.into(),
            Err(reason) => reason.into(),
        };
    }
    otherwise.into()
}

impl Place {
    const TAKEN: u32 = 1 << 2;

    /// As a number, for global functions.
    #[inline(always)]
    pub fn pack(self) -> u32 {
        u32::from(self.local) | u32::from(self.attached) << 1
    }

    /// In the place of one: a connection has the segment.
    #[inline(always)]
    pub fn taken(local: bool) -> u32 {
        u32::from(local) | Self::TAKEN
    }

    /// The place, or the reason that the connection is.
    #[inline(always)]
    pub fn unpack(packed: u32) -> Result<Self, Reason> {
        let local = packed & 1 != 0;
        match packed & Self::TAKEN {
            0 => Ok(Self { local, attached: packed & 2 != 0 }),
            _ if local => Err(Reason::Local),
            _ => Err(Reason::Established),
        }
    }
}

/// The reason with a number that a global function was given or has returned.
///
/// Read as volatile: the compiler sees through such functions, knows the number to be one, and leaves out the check that the
/// verifier asks for.
#[inline(always)]
pub fn reason(number: u32) -> Reason {
    // SAFETY: the number lives on the stack.
    let number = unsafe { (&raw const number).read_volatile() };
    Reason::from_number(number as u8).unwrap_or(Reason::NoRoute)
}

/// A bit that an outcome does not use: no route was asked.
const SETTLED: u64 = 1 << 31;

/// A reason without a route, in the place of an outcome.
#[inline(always)]
pub fn settled(reason: Reason) -> u64 {
    reason as u64 | SETTLED
}

/// The outcome, or the reason in its place.
#[inline(always)]
pub fn unpack(packed: u64) -> Result<Outcome, Reason> {
    let outcome = Outcome::unpack(packed);
    if packed & SETTLED == 0 { Ok(outcome) } else { Err(outcome.reason) }
}

impl From<Reason> for Outcome {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        let verdict = reason.verdict(OnUnavailable::Pass as u8);
        Self { reason, verdict, route: None, next_hop: 0 }
    }
}

impl Outcome {
    #[inline(always)]
    fn by_route(reason: Reason, entry: &RouteEntry, route: Option<u32>) -> Self {
        let verdict = reason.verdict(entry.on_unavailable);
        Self { reason, verdict, route, next_hop: entry.target as u8 }
    }

    /// As the one number that a global function can return.
    #[inline(always)]
    pub fn pack(&self) -> u64 {
        let (has_route, route) = (self.route.is_some() as u64, self.route.unwrap_or(0) as u64);
        route << 32
            | has_route << 24
            | (self.next_hop as u64) << 16
            | (self.verdict as u64) << 8
            | self.reason as u64
    }

    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        Self {
            reason: Reason::from_number(packed as u8).unwrap_or(Reason::NoRoute),
            verdict: Verdict::from_number((packed >> 8) as u8).unwrap_or(Verdict::Passed),
            route: ((packed >> 24) as u8 != 0).then_some((packed >> 32) as u32),
            next_hop: (packed >> 16) as u8,
        }
    }
}
