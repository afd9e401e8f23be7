//! What becomes of packets that take a closer look: fragments, those with extension headers, ICMP errors.
//!
//! In global functions, so that the verifier goes through each once. None but the last of those that call one another takes
//! much of the stack, of which there are 512 bytes for all of them.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use redirector_common::{
    Protocol, Reason,
    entries::{PortWord, RouteKind},
};

use crate::{
    decide::{self, Outcome, Place},
    fragments,
    link::Link,
    locals,
    packet::{self, Segment, Shape, look},
    route,
};

/// Looks closer, and decides: fills the segment in, as far as the packet has one.
///
/// # Errors
///
/// The reason, where no route is asked.
#[inline(always)]
pub fn outcome<L: Link>(ctx: &TcContext, segment: &mut Segment) -> Result<Outcome, Reason> {
    let not_for_us = packet::for_us::<L>(ctx).map_or_else(|reason| reason as u32, |()| FOR_US);
    decide::unpack(closer(ctx.skb.skb, segment, L::NETWORK as u32, not_for_us))
}

/// In the place of a reason why the packet is not for us.
const FOR_US: u32 = u32::MAX;

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn closer(ctx: *mut __sk_buff, segment: *mut Segment, network: u32, not_for_us: u32) -> u64 {
    let shape = look::shape(ctx, segment, network);
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return decide::settled(Reason::NoRoute) };
    let for_us = if not_for_us == FOR_US { Ok(()) } else { Err(decide::reason(not_for_us)) };
    match (shape.kind(), for_us) {
        (Shape::WHOLE, for_us) => whole(ctx, segment, for_us),
        (Shape::FIRST, for_us) => {
            let decided = whole(ctx, segment, for_us);
            fragments::first(segment, shape.identification(), decided)
        }
        (Shape::ICMP_ERROR, for_us) => icmp_error(ctx, segment, for_us),
        (Shape::TINY | Shape::LATER, Err(reason)) => decide::settled(reason),
        (Shape::TINY, Ok(())) => fragments::tiny(segment, shape.identification()),
        (Shape::LATER, Ok(())) => fragments::later_fragment(ctx, segment, shape.identification()),
        _ => decide::settled(shape.reason()),
    }
}

/// A packet with its transport header: as `ingress` has it of one without anything special.
#[inline(always)]
fn whole(ctx: *mut __sk_buff, segment: &Segment, for_us: Result<(), Reason>) -> u64 {
    let word = route::port(segment.family(), segment.protocol(), segment.destination_port());
    if word == PortWord::NONE {
        return decide::settled(Reason::NoRoute);
    }
    let local = match decide::local(segment.family(), segment.destination(), word, segment.opens()) {
        Ok(local) => local,
        Err(reason) => return decide::settled(reason),
    };
    if let Err(reason) = for_us {
        return decide::settled(reason);
    }
    match Place::unpack(placed(ctx, segment, word.0, local.into())) {
        Ok(place) => decide::decide(ctx, segment, word.0, place.pack()),
        Err(reason) => decide::settled(reason),
    }
}

/// An ICMP error goes to the proxy's socket that it speaks of, if its address is not of this host: path MTU discovery
/// depends on it.
#[inline(always)]
fn icmp_error(ctx: *mut __sk_buff, segment: &Segment, for_us: Result<(), Reason>) -> u64 {
    let word = route::port(segment.family(), segment.protocol(), segment.destination_port());
    if !word.is_steered() || locals::contains(segment.family(), segment.destination()) {
        return decide::settled(Reason::OtherProtocol);
    }
    if let Err(reason) = for_us {
        return decide::settled(reason);
    }
    if let Err(Reason::Established) = Place::unpack(placed(ctx, segment, word.0, 0)) {
        return decide::settled(Reason::IcmpError);
    }
    // A proxy of UDP needs no socket for each client.
    if matches!(segment.protocol(), Protocol::Tcp) {
        return decide::settled(Reason::OtherProtocol);
    }
    // No route leads what is from or to these anywhere.
    if segment.flow().never_redirected() {
        return decide::settled(Reason::OtherProtocol);
    }
    match route::find_for(word, segment) {
        Some((_, entry)) if entry.kind == RouteKind::Proxy as u8 => decide::settled(Reason::IcmpError),
        _ => decide::settled(Reason::OtherProtocol),
    }
}

/// [`decide::place`] by a call of its own.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn placed(ctx: *mut __sk_buff, segment: *const Segment, word: u32, local: u32) -> u32 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return Place::taken(local != 0) };
    let (ctx, word) = (&TcContext::new(ctx), PortWord(word));
    match decide::place(ctx, segment, word, local != 0) {
        Ok(place) => place.pack(),
        Err(_) => Place::taken(local != 0),
    }
}
