//! The programs, in the order in which a packet meets them. What is not fully understood passes unchanged.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the macro that makes a program drops its documentation")]

mod answer;
mod checksum;
mod closer;
mod count;
mod decide;
mod event;
mod fragments;
mod handoff;
mod ingress;
mod link;
mod listener;
mod locals;
mod lookup;
mod maps;
mod next_hop;
mod packet;
mod proxy;
mod reset;
mod route;
mod socket;
mod trial;
mod unreachable;

use aya_ebpf::{
    bindings::{bpf_sk_lookup, sk_action::SK_PASS, tcx_action_base::TCX_NEXT},
    macros::classifier,
    programs::{SkLookupContext, TcContext},
};

/// Ingress of each captured interface: sees every packet that arrives there.
#[classifier]
pub fn tc_ingress(ctx: TcContext) -> i32 {
    ingress::run::<link::Ethernet>(&ctx)
}

/// The same for a port of a bridge, which may be about to carry the packet to another of its ports.
#[classifier]
pub fn tc_ingress_port(ctx: TcContext) -> i32 {
    ingress::run::<link::BridgePort>(&ctx)
}

/// The same for an interface whose packets begin with the IP header: tun, WireGuard, an IP tunnel.
#[classifier]
pub fn tc_ingress_l3(ctx: TcContext) -> i32 {
    ingress::run::<link::Layer3>(&ctx)
}

/// Holds a place at a hook, and lets every packet go on. A link is led to another program at once, but comes and goes only
/// with a grace period of RCU.
#[classifier]
pub fn tc_ingress_idle(_: TcContext) -> i32 {
    TCX_NEXT
}

/// The netns' look-up of a listener: gives what `tc_ingress` handed over to the proxy's socket.
///
/// The attribute macro would put it into a section called `sk_lookup`, a symbol that is then defined twice.
#[unsafe(no_mangle)]
#[unsafe(link_section = "sk_lookup/sk_lookup")]
pub fn sk_lookup(ctx: *mut bpf_sk_lookup) -> u32 {
    lookup::assign(&SkLookupContext::new(ctx));
    SK_PASS
}

/// Attached nowhere. The agent runs it to store a proxy's listener: `mark` is the index in `LISTENERS`, the
/// result the number of a Reason (`Proxy`: it can take any connection).
#[classifier]
pub fn learn_listener(ctx: TcContext) -> i32 {
    listener::learn_index(&ctx) as i32
}

/// Lets the programs use helpers that the kernel keeps for GPL-compatible ones.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
