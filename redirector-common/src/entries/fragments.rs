//! `FRAGMENTS`: what became of packets that come in fragments.

use crate::{Address, Verdict};

/// Packets of which this is known at a time. One that comes in fragments has an entry for 30 seconds at most.
pub const FRAGMENTS: u32 = 8192;

/// By what the fragments of a packet are known: a key of `FRAGMENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Source of the packet.
    pub source: Address,
    /// Destination of the packet.
    pub destination: Address,
    /// The sender's number for the packet, host order.
    pub identification: u32,
    /// A [`Family`](crate::Family).
    pub family: u8,
    /// A [`Protocol`](crate::Protocol) in IPv4. Zero in IPv6, where only the first fragment says it.
    pub protocol: u8,
    /// Always zero.
    pub pad: u16,
}
const _: () = assert!(size_of::<FragmentKey>() == 40);

/// What became of a packet's first fragment, or that there was none yet: a value of `FRAGMENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentEntry {
    /// When it was written, in nanoseconds of CLOCK_MONOTONIC, as coarse as the kernel's ticks.
    pub time: u64,
    /// The [`Verdict`] of all fragments.
    pub verdict: u8,
    /// The slot in `NEXT_HOPS`, where they are forwarded.
    pub next_hop: u8,
    /// 1: a later fragment came before the first, and passed; else 0.
    pub is_before_first: u8,
    /// Always zero.
    pub pad: [u8; 5],
}
const _: () = assert!(size_of::<FragmentEntry>() == 16);

impl FragmentEntry {
    /// What became of a first fragment at this time: the number of a [`Verdict`].
    #[inline(always)]
    pub const fn of_first(time: u64, verdict: u8, next_hop: u8) -> Self {
        Self { time, verdict, next_hop, is_before_first: 0, pad: [0; 5] }
    }

    /// A later fragment has passed at this time, and no first was seen.
    #[inline(always)]
    pub const fn passed_before(time: u64) -> Self {
        Self { time, verdict: Verdict::Passed as u8, next_hop: 0, is_before_first: 1, pad: [0; 5] }
    }
}
