//! The answer to a segment of TCP: the segment itself is turned into the reset.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_PSEUDO_HDR, tcx_action_base::TCX_DROP},
    helpers::bpf_skb_change_tail,
    programs::TcContext,
};
use network_types::{
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};
use redirector_common::{Address, Family, Flow};

use crate::{
    answer::{HOPS, back, turn_frame},
    checksum::sum,
    packet::Segment,
};

/// Sends the answer by the interface that the segment came by.
#[inline(always)]
pub fn answer(ctx: &TcContext, segment: &Segment) -> i32 {
    reset(ctx.skb.skb, segment)
}

/// Global for the verifier's sake, as [`decide`](crate::decide).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn reset(ctx: *mut __sk_buff, segment: *const Segment) -> i32 {
    let ctx = TcContext::new(ctx);
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return TCX_DROP };
    back(&ctx, turn_round(&ctx, segment))
}

#[inline(always)]
fn turn_round(ctx: &TcContext, segment: &Segment) -> Result<(), i64> {
    let (network, transport) = (segment.network(), segment.transport());
    let flow = segment.flow();
    let tcp = header(&flow, &ctx.load(transport)?, segment_length(ctx, segment, flow.family)?);
    // IPv4 options stay, as the kernel's own reset has them too: what leaves it whole keeps the offset at which a device
    // is to put the checksum.
    let length = (transport + TcpHdr::LEN) as u32;
    // SAFETY: the context is the kernel's own.
    match unsafe { bpf_skb_change_tail(ctx.skb.skb, length, 0) } {
        0 => {}
        errno => return Err(errno),
    }
    turn_frame(ctx, network)?;
    match flow.family {
        Family::V4 => turn_ipv4(ctx, segment, &flow)?,
        Family::V6 => turn_ipv6(ctx, segment, &flow)?,
    }
    ctx.store(transport, &tcp, 0)?;
    // By two sums, of which a packet whose checksum the device is to complete takes the first only
    // (net/core/utils.c, inet_proto_csum_replace_by_diff).
    let check = transport + offset_of!(TcpHdr, check);
    ctx.l4_csum_replace(check, 0, pseudo_header(&flow)?.into(), u64::from(BPF_F_PSEUDO_HDR))?;
    ctx.l4_csum_replace(check, 0, sum(&tcp, 0)?.into(), 0)
}

/// The header of the answer (RFC 9293, 3.10.7.1), without its checksum.
#[inline(always)]
fn header(flow: &Flow, asked: &[u8; TcpHdr::LEN], length: u32) -> [u8; TcpHdr::LEN] {
    const ACKNOWLEDGES: u8 = 0x10;
    const RESETS: u8 = 0x04;
    let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, flags, ..] = *asked;
    let ([sequence, acknowledged], flags) = if flags & ACKNOWLEDGES != 0 {
        ([[a0, a1, a2, a3], [0; 4]], RESETS)
    } else {
        let next = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(length);
        ([[0; 4], next.to_be_bytes()], RESETS | ACKNOWLEDGES)
    };
    let [d0, d1] = flow.destination_port.to_be_bytes();
    let [p0, p1] = flow.source_port.to_be_bytes();
    let ([s0, s1, s2, s3], [a0, a1, a2, a3]) = (sequence, acknowledged);
    [d0, d1, p0, p1, s0, s1, s2, s3, a0, a1, a2, a3, 5 << 4, flags, 0, 0, 0, 0, 0, 0]
}

/// How much of the sequence the segment takes: its data, and one for each of SYN and FIN.
#[inline(always)]
fn segment_length(ctx: &TcContext, segment: &Segment, family: Family) -> Result<u32, i64> {
    let (network, transport) = (segment.network(), segment.transport());
    let (before, field) = match family {
        Family::V4 => (0, offset_of!(Ipv4Hdr, tot_len)),
        Family::V6 => (Ipv6Hdr::LEN, offset_of!(Ipv6Hdr, payload_len)),
    };
    let end = match word(ctx, network + field)? {
        // Too long for the field, as what stands for several segments may be.
        0 => ctx.len() as usize,
        length => network + before + usize::from(length),
    };
    let [offset, flags] = ctx.load::<[u8; 2]>(transport + 12)?;
    let begin = transport + usize::from(offset >> 4) * 4;
    Ok(end.saturating_sub(begin) as u32 + u32::from(flags >> 1 & 1) + u32::from(flags & 1))
}

/// Bit of the byte in front of IPv4's fragment offset.
const DONT_FRAGMENT: u8 = 1 << 6;

/// Swaps the addresses, states the new length, and gives the packet all its hops.
#[inline(always)]
fn turn_ipv4(ctx: &TcContext, segment: &Segment, flow: &Flow) -> Result<(), i64> {
    let (network, transport) = (segment.network(), segment.transport());
    let check = network + offset_of!(Ipv4Hdr, check);
    let length = (transport - network + TcpHdr::LEN) as u16;
    replace(ctx, network + offset_of!(Ipv4Hdr, tot_len), length.to_be_bytes(), check)?;
    replace(ctx, network + offset_of!(Ipv4Hdr, ttl), [HOPS, IpProto::Tcp as u8], check)?;
    // The answer to a first fragment is whole.
    let [flags, _] = ctx.load::<[u8; 2]>(network + offset_of!(Ipv4Hdr, frags))?;
    replace(ctx, network + offset_of!(Ipv4Hdr, frags), [flags & DONT_FRAGMENT, 0], check)?;
    let ([source, ..], [destination, ..]) = (flow.source.words(), flow.destination.words());
    // Their sum stays.
    ctx.store(network + offset_of!(Ipv4Hdr, src_addr), &[destination, source], 0)
}

#[inline(always)]
fn turn_ipv6(ctx: &TcContext, segment: &Segment, flow: &Flow) -> Result<(), i64> {
    let (network, transport) = (segment.network(), segment.transport());
    // Extension headers stay, as IPv4's options do.
    let length = transport.wrapping_sub(network + Ipv6Hdr::LEN) + TcpHdr::LEN;
    ctx.store(network + offset_of!(Ipv6Hdr, payload_len), &(length as u16).to_be_bytes(), 0)?;
    if let Some(fragment) = segment.fragment() {
        /// Where the fragment header says that more follow: this is the whole answer.
        const OFFSET: usize = 2;
        ctx.store(fragment + OFFSET, &[0_u8; 2], 0)?;
    }
    ctx.store(network + offset_of!(Ipv6Hdr, hop_limit), &HOPS, 0)?;
    let turned: [Address; 2] = [flow.destination, flow.source];
    ctx.store(network + offset_of!(Ipv6Hdr, src_addr), &turned, 0)
}

/// Replaces a word of the IPv4 header, and its part in the checksum.
#[inline(always)]
fn replace(ctx: &TcContext, at: usize, new: [u8; 2], check: usize) -> Result<(), i64> {
    let old: [u8; 2] = ctx.load(at)?;
    let (from, to) = (u16::from_ne_bytes(old).into(), u16::from_ne_bytes(new).into());
    ctx.l3_csum_replace(check, from, to, 2)?;
    ctx.store(at, &new, 0)
}

/// The sum of what TCP's checksum takes from the IP header.
#[inline(always)]
fn pseudo_header(flow: &Flow) -> Result<u32, i64> {
    let words = [(IpProto::Tcp as u16).to_be(), (TcpHdr::LEN as u16).to_be()];
    let seed = u32::from(words[0]) + u32::from(words[1]);
    // What an IPv4 address leaves of the words is zero, and adds nothing.
    sum(&[flow.source, flow.destination], seed)
}

/// Two bytes of the packet, host order.
#[inline(always)]
fn word(ctx: &TcContext, at: usize) -> Result<u16, i64> {
    ctx.load(at).map(u16::from_be_bytes)
}
