//! The answer to a datagram: ICMP's port unreachable, which its destination would send if nobody listened there.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, tcx_action_base::TCX_DROP},
    helpers::{bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes},
    programs::TcContext,
};
use network_types::{
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};
use redirector_common::{Address, Family, Flow};

use crate::{
    answer::{HOPS, back, turn_frame},
    checksum,
    packet::Segment,
};

/// The most that IP's headers may take for the datagram to be answered, in bytes: no more is copied to the stack.
const MOST_HEADERS: usize = 128;

/// Length of ICMP's own header, in bytes, in both families.
const ICMP: usize = 8;
/// Its first bytes for an unreachable port: type and code (RFC 792; RFC 4443, 3.1).
const ICMP_V4: [u8; 2] = [3, 3];
const ICMP_V6: [u8; 2] = [1, 4];

/// Sends the answer by the interface that the datagram came by.
#[inline(always)]
pub fn answer(ctx: &TcContext, segment: &Segment) -> i32 {
    unreachable(ctx.skb.skb, segment)
}

/// Global for the verifier's sake, as [`decide`](crate::decide).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn unreachable(ctx: *mut __sk_buff, segment: *const Segment) -> i32 {
    let ctx = TcContext::new(ctx);
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return TCX_DROP };
    back(&ctx, wrap(&ctx, segment))
}

/// Leaves of the datagram its headers, and puts those of the answer before them.
#[inline(always)]
fn wrap(ctx: &TcContext, segment: &Segment) -> Result<(), i64> {
    let (network, transport) = (segment.network(), segment.transport());
    let flow = segment.flow();
    let headers = transport.wrapping_sub(network);
    if headers > MOST_HEADERS {
        return Err(0);
    }
    let quoted = headers + UdpHdr::LEN;
    // SAFETY: the context is the kernel's own.
    match unsafe { bpf_skb_change_tail(ctx.skb.skb, (network + quoted) as u32, 0) } {
        0 => {}
        errno => return Err(errno),
    }
    settle_checksum(ctx, transport)?;
    let sum = sum_of_quoted(ctx, network, quoted)?;
    let room = match flow.family {
        Family::V4 => Ipv4Hdr::LEN + ICMP,
        Family::V6 => Ipv6Hdr::LEN + ICMP,
    };
    // SAFETY: the context is the kernel's own.
    match unsafe { bpf_skb_adjust_room(ctx.skb.skb, room as i32, BPF_ADJ_ROOM_MAC, 0) } {
        0 => {}
        errno => return Err(errno),
    }
    turn_frame(ctx, network)?;
    match flow.family {
        Family::V4 => put_ipv4(ctx, network, &flow, quoted, sum),
        Family::V6 => put_ipv6(ctx, network, &flow, quoted, sum),
    }
}

/// Gives the datagram a checksum that completing it leaves as it is: where a device is to complete the checksum of this packet, it
/// goes on to do so here, when ICMP's is made already. Nobody verifies that of a header without its data.
#[inline(always)]
fn settle_checksum(ctx: &TcContext, transport: usize) -> Result<(), i64> {
    let [source, destination, length, _] = ctx.load::<[u16; 4]>(transport)?;
    let others = (u32::from(source) + u32::from(destination) + u32::from(length)) % 0xffff;
    // Completed is what the sum s of the others and the field c itself make: -(s + c). That is c again where 2c = -s, modulo
    // 65535, of which 32768 is the half of one. Zero is written as 65535 (net/core/dev.c, skb_checksum_help).
    let settled = match (0xffff - others) * 0x8000 % 0xffff {
        0 => 0xffff,
        settled => settled as u16,
    };
    ctx.store(transport + offset_of!(UdpHdr, check), &settled, 0)
}

/// The sum of what is left of the datagram.
#[inline(always)]
fn sum_of_quoted(ctx: &TcContext, network: usize, quoted: usize) -> Result<u32, i64> {
    let mut bytes = MaybeUninit::<[u64; (MOST_HEADERS + UdpHdr::LEN) / 8]>::zeroed();
    let (context, to) = (ctx.skb.skb.cast(), bytes.as_mut_ptr().cast());
    // SAFETY: the buffer lives on the stack, and the verifier checks the length against it.
    match unsafe { bpf_skb_load_bytes(context, network as u32, to, quoted as u32) } {
        0 => checksum::sum_of_first(&bytes, quoted, 0),
        errno => Err(errno),
    }
}

/// Writes the answer's headers before what is sent back, whose sum this is.
#[inline(always)]
fn put_ipv4(ctx: &TcContext, network: usize, flow: &Flow, quoted: usize, sum: u32) -> Result<(), i64> {
    /// "Internetwork control", with which errors are to be sent (RFC 1812, 4.3.2.5).
    const CONTROL: u8 = 6 << 5;
    const DONT_FRAGMENT: u8 = 1 << 6;
    let [high, low] = ((Ipv4Hdr::LEN + ICMP + quoted) as u16).to_be_bytes();
    let protocol = IpProto::Icmp as u8;
    let start: [u8; 12] = [4 << 4 | 5, CONTROL, high, low, 0, 0, DONT_FRAGMENT, 0, HOPS, protocol, 0, 0];
    let ([from, ..], [to, ..]) = (flow.destination.words(), flow.source.words());
    let addresses = [from, to];
    let check = checksum::of(checksum::sum(&addresses, checksum::sum(&start, 0)?)?);
    ctx.store(network, &start, 0)?;
    ctx.store(network + offset_of!(Ipv4Hdr, check), &check, 0)?;
    ctx.store(network + offset_of!(Ipv4Hdr, src_addr), &addresses, 0)?;
    put_icmp(ctx, network + Ipv4Hdr::LEN, ICMP_V4, sum)
}

#[inline(always)]
fn put_ipv6(ctx: &TcContext, network: usize, flow: &Flow, quoted: usize, sum: u32) -> Result<(), i64> {
    let [high, low] = ((ICMP + quoted) as u16).to_be_bytes();
    let protocol = IpProto::Ipv6Icmp as u8;
    let start: [u8; 8] = [6 << 4, 0, 0, 0, high, low, protocol, HOPS];
    let addresses: [Address; 2] = [flow.destination, flow.source];
    ctx.store(network, &start, 0)?;
    ctx.store(network + offset_of!(Ipv6Hdr, src_addr), &addresses, 0)?;
    // Its checksum takes these in (RFC 8200, 8.1).
    let pseudo_header: [u8; 8] = [0, 0, high, low, 0, 0, 0, protocol];
    let sum = checksum::sum(&addresses, checksum::sum(&pseudo_header, sum)?)?;
    put_icmp(ctx, network + Ipv6Hdr::LEN, ICMP_V6, sum)
}

#[inline(always)]
fn put_icmp(ctx: &TcContext, at: usize, [kind, code]: [u8; 2], sum: u32) -> Result<(), i64> {
    /// Where the checksum is.
    const CHECK: usize = 2;
    let header: [u8; ICMP] = [kind, code, 0, 0, 0, 0, 0, 0];
    let check = checksum::of(checksum::sum(&header, sum)?);
    ctx.store(at, &header, 0)?;
    ctx.store(at + CHECK, &check, 0)
}
