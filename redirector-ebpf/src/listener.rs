//! A proxy's listener: found when it is needed, kept in `LISTENERS`, trusted only while it listens.

use aya_ebpf::programs::TcContext;
use redirector_common::{
    Address, Family, Flow, Protocol, Reason,
    entries::{listener_index, listener_of},
};

use crate::{
    handoff,
    maps::PROXIES,
    socket::{Socket, state},
};

/// The errno of a socket that a SOCKMAP cannot hold (include/uapi/asm-generic/errno.h).
const EOPNOTSUPP: i32 = 95;

/// The listener that takes a new connection of this flow, and its index in `LISTENERS`.
///
/// # Errors
///
/// Why there is none: the proxy is not available.
#[inline(always)]
pub fn find(ctx: &TcContext, slot: u32, flow: &Flow, local: bool) -> Result<(Socket, u32), Reason> {
    let index = listener_index(slot, flow.protocol, flow.family);
    // A socket that was shut down, or connected, stays in the map and would hide its successor.
    let listener = match Socket::stored(index) {
        Some(listener) if listener.state() == state::LISTEN && !listener.is_device_bound() => listener,
        _ => learn(ctx, slot, flow.protocol, flow.family)?,
    };
    if !local && !listener.is_transparent() {
        return Err(Reason::NotTransparent);
    }
    Ok((listener, index))
}

/// The work of the program `learn_listener`.
#[inline(always)]
pub fn learn_index(ctx: &TcContext) -> Reason {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let index = unsafe { (*ctx.skb.skb).mark };
    let (slot, protocol, family) = listener_of(index);
    match learn(ctx, slot, protocol, family) {
        Ok(listener) if listener.is_transparent() => Reason::Proxy,
        Ok(_) => Reason::NotTransparent,
        Err(reason) => reason,
    }
}

/// Looks the proxy's listener up, as a connection to the proxy's own address would, and stores it.
#[inline(always)]
fn learn(ctx: &TcContext, slot: u32, protocol: Protocol, family: Family) -> Result<Socket, Reason> {
    let proxy = PROXIES.get(slot).ok_or(Reason::NoListener)?;
    let address = proxy.address(family);
    if *address == Address::default() {
        return Err(Reason::NoListener);
    }
    let (found, _) = handoff::probe(|| Socket::listening_at(ctx, family, address, proxy.port));
    let listener = found.filter(|socket| socket.state() == state::LISTEN).ok_or(Reason::NoListener)?;
    if listener.is_device_bound() {
        return Err(Reason::DeviceBound);
    }
    match listener.store(listener_index(slot, protocol, family)) {
        Ok(()) => Ok(listener),
        Err(EOPNOTSUPP) => Err(Reason::MptcpListener),
        Err(_) => Err(Reason::NoListener),
    }
}
