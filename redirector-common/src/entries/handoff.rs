//! `HANDOFF`: what `tc_ingress` tells `sk_lookup`.

use crate::{Address, Flow};

/// What `tc_ingress` tells `sk_lookup` of the packet that it lets through: the one entry of `HANDOFF`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Handoff {
    /// A [`HandoffState`].
    pub state: u32,
    /// Index in `LISTENERS` of the socket that takes the connection.
    pub listener: u32,
    /// Slot of the route.
    pub route: u32,
    /// Source of the packet.
    pub source: Address,
    /// Destination of the packet.
    pub destination: Address,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// A [`Family`].
    pub family: u8,
    /// A [`Protocol`].
    pub protocol: u8,
    /// Always zero.
    pub pad: u16,
}
const _: () = assert!(size_of::<Handoff>() == 52);
// The programs reach the state through a pointer to the whole.
const _: () = assert!(core::mem::offset_of!(Handoff, state) == 0);

impl Handoff {
    /// Hands a flow of a route over to the listener at this index of `LISTENERS`.
    #[inline(always)]
    pub const fn new(state: HandoffState, flow: &Flow, route: u32, listener: u32) -> Self {
        Self {
            state: state as u32,
            listener,
            route,
            source: flow.source,
            destination: flow.destination,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            family: flow.family as u8,
            protocol: flow.protocol as u8,
            pad: 0,
        }
    }

    /// Whether this was written for the flow.
    #[inline(always)]
    pub fn is_for(&self, flow: &Flow) -> bool {
        self.source_port == flow.source_port
            && self.destination_port == flow.destination_port
            && self.family == flow.family as u8
            && self.protocol == flow.protocol as u8
            && self.source == flow.source
            && self.destination == flow.destination
    }
}

/// What stands in `HANDOFF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum HandoffState {
    /// Nothing: `sk_lookup` looks the route up itself.
    Empty = 0,
    /// A packet to steer.
    Steer = 1,
    /// `tc_ingress` is looking a socket up: `sk_lookup` answers [`HandoffState::Present`] and passes at once.
    Probe = 2,
    /// The answer of `sk_lookup` to a probe.
    Present = 3,
    /// The ACK of a SYN cookie, to steer like its SYN, which was counted then.
    SynCookie = 4,
}
