//! `else reset`: answers a packet that its target cannot take, and sends the answer back by the interface that it came by.
//!
//! The kernel itself answers nothing for an IPv4 address that is not of this host, so that the client would wait.

use aya_ebpf::{bindings::tcx_action_base::TCX_DROP, helpers::bpf_redirect, programs::TcContext};
use network_types::eth::EthHdr;
use redirector_common::Protocol;

use crate::{packet::Segment, reset, unreachable};

/// How far an answer may go, in hops.
pub const HOPS: u8 = 64;

/// Answers a segment of TCP by a reset and a datagram by ICMP's port unreachable. What cannot be answered is dropped.
#[inline(always)]
pub fn send(ctx: &TcContext, segment: &Segment) -> i32 {
    match segment.flow().protocol {
        Protocol::Tcp => reset::answer(ctx, segment),
        Protocol::Udp => unreachable::answer(ctx, segment),
    }
}

/// Sends the packet back, if it was made into an answer.
#[inline(always)]
pub fn back(ctx: &TcContext, made: Result<(), i64>) -> i32 {
    if made.is_err() {
        return TCX_DROP;
    }
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    // SAFETY: the helper keeps nothing but these numbers.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Addresses the frame to where it came from, on a link whose packets begin with an Ethernet header.
#[inline(always)]
pub fn turn_frame(ctx: &TcContext, network: usize) -> Result<(), i64> {
    if network != EthHdr::LEN {
        return Ok(());
    }
    let [destination, source]: [[u8; 6]; 2] = ctx.load(0)?;
    ctx.store(0, &[source, destination], 0)
}
