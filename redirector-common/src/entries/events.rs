//! `FLOW_EVENTS`, `EVENTS`, `EVENT_RATE`, `EVENT_LOSSES` and `DATAGRAMS`: what is told of new connections, how much of it,
//! and how much was not.

use crate::Address;

/// A new connection: a record of `FLOW_EVENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowEvent {
    /// When its first packet came, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// Who opened it.
    pub source: Address,
    /// Where it wanted to go.
    pub destination: Address,
    /// Slot of the route that decided, or [`FlowEvent::NO_ROUTE`], or [`FlowEvent::NO_PORT`].
    pub route: u32,
    /// The interface that it came in by.
    pub ifindex: u32,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// A [`Family`](crate::Family).
    pub family: u8,
    /// A [`Protocol`](crate::Protocol).
    pub protocol: u8,
    /// A [`Verdict`](crate::Verdict).
    pub verdict: u8,
    /// A [`Reason`](crate::Reason).
    pub reason: u8,
}
const _: () = assert!(size_of::<FlowEvent>() == 56);

impl FlowEvent {
    /// No route decided.
    pub const NO_ROUTE: u32 = u32::MAX;
    /// No route even names the port.
    pub const NO_PORT: u32 = u32::MAX - 1;
    /// What a record takes in the buffer, in bytes: the kernel puts a header of eight before it.
    pub const RECORD: u32 = size_of::<Self>() as u32 + 8;
}

/// Bytes of `FLOW_EVENTS`, a power of two: room for 4,096 events.
pub const FLOW_EVENTS_BYTES: u32 = 4096 * FlowEvent::RECORD;

/// The one entry of `EVENTS`: what is to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct EventSettings {
    /// Events at most in a second, of all CPUs; 0: none.
    pub per_second: u32,
    /// Not zero: somebody watches.
    pub watched: u32,
    /// Not zero: somebody wants to know of connections to ports that no route names too.
    pub all: u32,
    /// Always zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<EventSettings>() == 16);

/// The one entry of `EVENT_RATE`: what was told in this second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct EventRate {
    /// When the second began, in nanoseconds of the monotonic clock as it was at the last tick.
    pub began: u64,
    /// Events since.
    pub told: u64,
}
const _: () = assert!(size_of::<EventRate>() == 16);

/// The one value per CPU of `EVENT_LOSSES`: connections that nobody was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct EventLosses {
    /// They were more than there may be in a second.
    pub rate: u64,
    /// The buffer was full.
    pub full: u64,
}
const _: () = assert!(size_of::<EventLosses>() == 16);

/// A key of `DATAGRAMS`: whose datagrams were told of; the value is when, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DatagramKey {
    /// Source.
    pub source: Address,
    /// Destination.
    pub destination: Address,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// A [`Family`](crate::Family).
    pub family: u32,
}
const _: () = assert!(size_of::<DatagramKey>() == 40);

/// How long after an event of a flow of datagrams there is no other, in nanoseconds.
pub const DATAGRAMS_QUIET: u64 = 60_000_000_000;
