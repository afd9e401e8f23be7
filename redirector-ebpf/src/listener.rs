//! A proxy's listener: found when it is needed, kept in `LISTENERS`, trusted only while it listens.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use redirector_common::{
    Address, Family, Protocol, Reason,
    entries::{listener_index, listener_of},
};

use crate::{
    decide, handoff,
    maps::PROXIES,
    socket::{Socket, state},
};

/// The errno of a socket that a SOCKMAP cannot hold (include/uapi/asm-generic/errno.h).
const EOPNOTSUPP: i32 = 95;

/// The listener that takes a new connection of TCP, and its index in `LISTENERS`.
///
/// # Errors
///
/// Why there is none: the proxy is not available.
#[inline(always)]
pub fn find(ctx: &TcContext, slot: u32, family: Family, local: bool) -> Result<(Socket, u32), Reason> {
    let index = listener_index(slot, family);
    let listener = match stored(index, Protocol::Tcp) {
        Some(listener) => listener,
        None => {
            learn(ctx, slot, Protocol::Tcp, family)?;
            stored(index, Protocol::Tcp).ok_or(Reason::NoListener)?
        }
    };
    if !local && !listener.is_transparent() {
        return Err(Reason::NotTransparent);
    }
    Ok((listener, index))
}

/// The index in `LISTENERS` of the socket that takes a datagram of this flow. It need not be transparent: whoever answers may
/// have another socket for that.
///
/// # Errors
///
/// Why there is none: the proxy is not available.
#[inline(always)]
pub fn find_for_datagram(ctx: &TcContext, slot: u32, family: Family) -> Result<u32, Reason> {
    let index = listener_index(slot, family);
    if stored(index, Protocol::Udp).is_none() {
        learn(ctx, slot, Protocol::Udp, family)?;
    }
    Ok(index)
}

/// What is stored there, if it can be trusted: a socket that was shut down, or connected, stays in the map and would hide its
/// successor.
#[inline(always)]
fn stored(index: u32, protocol: Protocol) -> Option<Socket> {
    Socket::stored(index)
        .filter(|listener| listener.state() == state::listening(protocol) && !listener.is_device_bound())
}

/// The work of the program `learn_listener`.
#[inline(always)]
pub fn learn_index(ctx: &TcContext) -> Reason {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let index = unsafe { (*ctx.skb.skb).mark };
    let (slot, family) = listener_of(index);
    let Some(proxy) = PROXIES.get(slot) else { return Reason::NoListener };
    let protocol = proxy.protocol();
    if let Err(reason) = learn(ctx, slot, protocol, family) {
        return reason;
    }
    match protocol {
        Protocol::Tcp => match stored(index, Protocol::Tcp) {
            Some(listener) if listener.is_transparent() => Reason::Proxy,
            Some(_) => Reason::NotTransparent,
            None => Reason::NoListener,
        },
        Protocol::Udp => Reason::Proxy,
    }
}

/// Looks the proxy's listener up, as a packet to the proxy's own address would, and stores it.
#[inline(always)]
fn learn(ctx: &TcContext, slot: u32, protocol: Protocol, family: Family) -> Result<(), Reason> {
    match look_up_listener(ctx.skb.skb, slot, protocol as u32, family as u32) {
        LEARNT => Ok(()),
        number => Err(decide::reason(number)),
    }
}

/// In the place of a reason.
const LEARNT: u32 = 0xff;

/// Global, as [`decide`](crate::decide): it is seldom needed.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn look_up_listener(ctx: *mut __sk_buff, slot: u32, protocol: u32, family: u32) -> u32 {
    let ctx = &TcContext::new(ctx);
    let family = if family == Family::V4 as u32 { Family::V4 } else { Family::V6 };
    let stored = if protocol == Protocol::Tcp as u32 {
        look_up(ctx, slot, Protocol::Tcp, family)
    } else {
        look_up(ctx, slot, Protocol::Udp, family)
    };
    stored.map_or_else(|reason| reason as u32, |()| LEARNT)
}

/// The protocol is the caller's constant: each has a helper of its own.
#[inline(always)]
fn look_up(ctx: &TcContext, slot: u32, protocol: Protocol, family: Family) -> Result<(), Reason> {
    let proxy = PROXIES.get(slot).ok_or(Reason::NoListener)?;
    let address = proxy.address(family);
    if *address == Address::default() {
        return Err(Reason::NoListener);
    }
    let (found, _) = handoff::probe(|| Socket::listening_at(ctx, protocol, family, address, proxy.port));
    let listener =
        found.filter(|socket| socket.state() == state::listening(protocol)).ok_or(Reason::NoListener)?;
    if listener.is_device_bound() {
        return Err(Reason::DeviceBound);
    }
    match listener.store(listener_index(slot, family)) {
        Ok(()) => Ok(()),
        Err(EOPNOTSUPP) => Err(Reason::MptcpListener),
        Err(_) => Err(Reason::NoListener),
    }
}
