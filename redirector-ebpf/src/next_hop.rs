//! The target `interface`: sends packets to the next hop, past the host's own routes.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, bpf_redir_neigh,
        bpf_redir_neigh__bindgen_ty_1 as Neighbour, tcx_action_base::TCX_DROP,
    },
    helpers::{bpf_check_mtu, bpf_redirect, bpf_redirect_neigh, bpf_skb_change_head},
    programs::TcContext,
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};
use redirector_common::{
    Address, Family, Flow, Reason,
    entries::{NextHopEntry, Via},
};

use core::mem::offset_of;

use crate::{
    maps::NEXT_HOPS,
    packet::{Segment, header, is_gso},
};

/// Address families of the kernel (include/linux/socket.h).
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const ENODEV: i64 = -19;

/// Whether the next hop in this slot can take the packet: [`Reason::Interface`], or why not.
#[inline(always)]
pub fn check(ctx: &TcContext, segment: &Segment, family: Family, slot: u32) -> Reason {
    let Some(hop) = NEXT_HOPS.get(slot).filter(|hop| hop.ifindex != 0) else {
        return Reason::NoInterface;
    };
    match hop_limit(ctx, segment, family) {
        Ok(2..) => {}
        Ok(_) => return Reason::HopLimit,
        Err(reason) => return reason,
    }
    // Of a packet that stands for several segments each is measured; the length of another is said without the link's
    // header, which the two interfaces need not have in common (net/core/filter.c, bpf_skb_check_mtu).
    let (mut length, flags) =
        if is_gso(ctx) { (0, BPF_MTU_CHK_SEGS as u64) } else { (ctx.len() - segment.network() as u32, 0) };
    // SAFETY: the length is a live u32, which the helper reads and writes.
    match unsafe { bpf_check_mtu(ctx.as_ptr(), hop.ifindex, &raw mut length, 0, flags) } {
        0 => Reason::Interface,
        ENODEV => Reason::NoInterface,
        _ => Reason::TooBig,
    }
}

/// The packet's time to live, in hops.
#[inline(always)]
fn hop_limit(ctx: &TcContext, segment: &Segment, family: Family) -> Result<u8, Reason> {
    let network = segment.network();
    match family {
        Family::V4 => Ok(header::<Ipv4Hdr>(ctx, network)?.ttl),
        Family::V6 => Ok(header::<Ipv6Hdr>(ctx, network)?.hop_limit),
    }
}

/// Sends the packet to the next hop in this slot, as a router does: with a hop less to live.
#[inline(always)]
pub fn send(ctx: &TcContext, segment: &Segment, slot: u8) -> i32 {
    forward(ctx.skb.skb, segment, slot.into())
}

/// Global for the verifier's sake, as [`decide`](crate::decide).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn forward(ctx: *mut __sk_buff, segment: *const Segment, slot: u32) -> i32 {
    let ctx = TcContext::new(ctx);
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return TCX_DROP };
    let Some(hop) = NEXT_HOPS.get(slot) else { return TCX_DROP };
    let flow = segment.flow();
    if take_a_hop(&ctx, segment, flow.family).is_err() {
        return TCX_DROP;
    }
    if hop.ethernet == 0 {
        // The kernel takes the link's header off (net/core/filter.c, __bpf_redirect_no_mac).
        // SAFETY: the helper keeps nothing but these numbers.
        return unsafe { bpf_redirect(hop.ifindex, 0) } as i32;
    }
    // The kernel replaces a header, and drops what has none (__bpf_redirect_neigh).
    // SAFETY: the context is the kernel's own.
    if segment.network() == 0 && unsafe { bpf_skb_change_head(ctx.skb.skb, EthHdr::LEN as u32, 0) } != 0 {
        return TCX_DROP;
    }
    let mut neighbour = neighbour(hop, &flow);
    let length = size_of::<bpf_redir_neigh>() as i32;
    // SAFETY: the parameters live on the stack, and the length is theirs.
    unsafe { bpf_redirect_neigh(hop.ifindex, &raw mut neighbour, length, 0) as i32 }
}

/// Who is to get the packet on the next hop's link.
#[inline(always)]
fn neighbour(hop: &NextHopEntry, flow: &Flow) -> bpf_redir_neigh {
    let is_v6 = match hop.via_kind {
        kind if kind == Via::V4 as u8 => false,
        kind if kind == Via::V6 as u8 => true,
        _ => flow.family as u8 == Family::V6 as u8,
    };
    let address: &Address = if hop.via_kind == Via::Destination as u8 { &flow.destination } else { &hop.via };
    // An IPv4 address is the first word, as it is in the union.
    let ipv6_nh = address.words();
    let nh_family = if is_v6 { AF_INET6 } else { AF_INET };
    bpf_redir_neigh { nh_family, __bindgen_anon_1: Neighbour { ipv6_nh } }
}

/// Takes a hop off the packet's time to live, so that a loop ends.
#[inline(always)]
fn take_a_hop(ctx: &TcContext, segment: &Segment, family: Family) -> Result<(), i64> {
    let network = segment.network();
    match family {
        Family::V4 => {
            let at = network + offset_of!(Ipv4Hdr, ttl);
            // With the protocol behind it: the checksum is of whole words.
            let [hops, protocol] = ctx.load::<[u8; 2]>(at)?;
            let (old, new) = ([hops, protocol], [hops.wrapping_sub(1), protocol]);
            ctx.l3_csum_replace(
                network + offset_of!(Ipv4Hdr, check),
                u16::from_ne_bytes(old).into(),
                u16::from_ne_bytes(new).into(),
                2,
            )?;
            ctx.store(at, &new, 0)
        }
        Family::V6 => {
            let at = network + offset_of!(Ipv6Hdr, hop_limit);
            let hops = ctx.load::<u8>(at)?;
            ctx.store(at, &hops.wrapping_sub(1), 0)
        }
    }
}
