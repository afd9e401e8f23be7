//! IPv6's extension headers: from the IPv6 header to the transport header, wherever that is.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use core::mem::offset_of;
use network_types::ip::{IpProto, Ipv6Hdr};
use redirector_common::Reason;

use super::load;
use crate::decide;

/// The most headers that are walked; what has more is none of ours to understand.
const MOST_HEADERS: u8 = 8;
/// The most bytes that they take together.
const MOST_BYTES: u32 = 1024;

/// Numbers of headers (IANA, "Protocol Numbers", those marked as IPv6 extension headers).
const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
const ROUTING: u8 = IpProto::Ipv6Route as u8;
const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
const AUTHENTICATION: u8 = IpProto::Ah as u8;
const DESTINATION: u8 = IpProto::Ipv6Opts as u8;
const MOBILITY: u8 = IpProto::MobilityHeader as u8;
const HOST_IDENTITY: u8 = IpProto::Hip as u8;
const SHIM6: u8 = IpProto::Shim6 as u8;
const TCP: u8 = IpProto::Tcp as u8;
const UDP: u8 = IpProto::Udp as u8;
/// ICMPv6.
pub const ICMP: u8 = IpProto::Ipv6Icmp as u8;

/// A chain of headers, as far as it was walked.
#[repr(C)]
pub struct Chain {
    /// Where the next header begins, in bytes from the start of the packet.
    pub at: u32,
    /// Where the fragment header begins, if this is a part of a packet, else zero.
    pub fragment: u32,
    /// Where the first header begins.
    begin: u32,
    /// Where the packet ends.
    end: u32,
    /// The number of the next header: at the end of the walk TCP, UDP or ICMPv6.
    pub next: u8,
    /// How many headers there were.
    headers: u8,
    /// 1: one of them was a fragment header, of a packet that is whole.
    atomic: u8,
    /// How much of a packet this is: one of the following.
    pub part: u8,
}

/// How much of a packet there is: the `part` of a [`Chain`].
pub mod part {
    /// All of it.
    pub const WHOLE: u8 = 0;
    /// Its beginning, with the transport header's.
    pub const FIRST: u8 = 1;
    /// Its beginning, which ends within the extension headers.
    pub const TINY: u8 = 2;
    /// Not its beginning: there are no headers to read.
    pub const LATER: u8 = 3;
}

/// Walks from the IPv6 header at an offset as far as the packet, which ends at another, lets it.
///
/// # Errors
///
/// Why it does not lead to a protocol of ours.
#[inline(always)]
pub fn walk(ctx: &TcContext, network: usize, end: usize) -> Result<Chain, Reason> {
    let begin = (network + Ipv6Hdr::LEN) as u32;
    let next = load(ctx, network + offset_of!(Ipv6Hdr, next_hdr))?;
    let mut chain = Chain {
        at: begin,
        fragment: 0,
        begin,
        end: end as u32,
        next,
        headers: 0,
        atomic: 0,
        part: part::WHOLE,
    };
    // One more: that which is not an extension header.
    for _ in 0..=MOST_HEADERS {
        match next_header(ctx.skb.skb, &raw mut chain) {
            GOES_ON => {}
            ENDS => return Ok(chain),
            number => return Err(decide::reason(number)),
        }
    }
    Err(Reason::ExtensionHeader)
}

/// In the place of a reason: there is another header, or none.
const GOES_ON: u32 = 0xfe;
const ENDS: u32 = 0xff;

/// Walks behind the next header. Global, as [`decide`](crate::decide), so that the verifier goes through it once rather than
/// once for each header, by each of the ways that lead there.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn next_header(ctx: *mut __sk_buff, chain: *mut Chain) -> u32 {
    // SAFETY: the caller's chain lives on its stack; the verifier has the pointer checked for null.
    let Some(chain) = (unsafe { chain.as_mut() }) else { return Reason::ExtensionHeader as u32 };
    match step(&TcContext::new(ctx), chain) {
        Ok(goes_on) => goes_on,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn step(ctx: &TcContext, chain: &mut Chain) -> Result<u32, Reason> {
    let (at, next) = (chain.at, chain.next);
    match next {
        TCP | UDP | ICMP => {
            if chain.fragment != 0 {
                chain.part = part::FIRST;
            }
            return Ok(ENDS);
        }
        HOP_BY_HOP | DESTINATION | ROUTING | FRAGMENT if chain.headers < MOST_HEADERS => {}
        // What is authenticated must not be delivered elsewhere, and the others lead to addresses of their own.
        HOP_BY_HOP | DESTINATION | ROUTING | FRAGMENT | AUTHENTICATION | MOBILITY | HOST_IDENTITY | SHIM6 => {
            return Err(Reason::ExtensionHeader);
        }
        _ => return Err(Reason::OtherProtocol),
    }
    if next == HOP_BY_HOP && chain.headers != 0 {
        return Err(Reason::Malformed);
    }
    if at + 8 > chain.end {
        return chain.ends_early();
    }
    let [following, length, third, fourth]: [u8; 4] = load(ctx, at as usize)?;
    let size = if next == FRAGMENT { 8 } else { (u32::from(length) + 1) * 8 };
    let behind = at + size;
    if behind > chain.end {
        return chain.ends_early();
    }
    match next {
        // Segments left: the destination in the IPv6 header is not the last one.
        ROUTING if fourth != 0 => return Err(Reason::ExtensionHeader),
        FRAGMENT if chain.fragment != 0 || chain.atomic != 0 => return Err(Reason::Malformed),
        FRAGMENT => {
            let (offset, more) = (u16::from_be_bytes([third, fourth & 0xf8]), fourth & 1 != 0);
            if offset != 0 {
                (chain.fragment, chain.part) = (at, part::LATER);
                return Ok(ENDS);
            }
            // Without more it is the whole packet (RFC 6946).
            if more {
                chain.fragment = at;
            } else {
                chain.atomic = 1;
            }
        }
        _ => {}
    }
    if behind - chain.begin > MOST_BYTES {
        return Err(Reason::ExtensionHeader);
    }
    (chain.at, chain.next) = (behind, following);
    chain.headers += 1;
    Ok(GOES_ON)
}

impl Chain {
    /// A first fragment need not have all headers (though RFC 7112 says that it should); everything else does.
    #[inline(always)]
    fn ends_early(&mut self) -> Result<u32, Reason> {
        if self.fragment == 0 {
            return Err(Reason::Truncated);
        }
        self.part = part::TINY;
        Ok(ENDS)
    }
}
