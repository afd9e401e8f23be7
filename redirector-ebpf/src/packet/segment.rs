//! What is known of a packet whose headers were checked.

use redirector_common::{Address, Family, Flow, Protocol};

use super::transport::Flags;

/// A TCP segment or a UDP datagram, as the global functions are given it: of what the verifier forgets on the way, no number
/// is larger than it may be.
#[derive(Default)]
#[repr(C)]
pub struct Segment {
    pub(super) source: Address,
    pub(super) destination: Address,
    /// Host order.
    pub(super) source_port: u16,
    /// Host order.
    pub(super) destination_port: u16,
    /// In bytes from the start of the packet.
    pub(super) transport: u16,
    /// In bytes from the start of the packet.
    pub(super) network: u8,
    /// Zero for IPv4. Not a [`Family`]: of that the compiler would know more than the verifier.
    pub(super) is_v6: u8,
    /// Zero for TCP.
    pub(super) is_udp: u8,
    pub(super) flags: Flags,
    /// Where IPv6's fragment header begins, if this is a fragment, in bytes from the start of the packet; else zero.
    pub(super) fragment: u16,
}

/// No transport header begins later, which the verifier must be told.
const MOST_TRANSPORT: usize = 0x7ff;

impl Segment {
    /// One of which no more is known.
    #[inline(always)]
    pub fn of(flow: &Flow) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            is_v6: flow.family as u8,
            is_udp: flow.protocol as u8,
            ..Self::default()
        }
    }

    /// What its route is chosen by.
    #[inline(always)]
    pub fn flow(&self) -> Flow {
        Flow {
            family: self.family(),
            protocol: self.protocol(),
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
        }
    }

    /// Its family.
    #[inline(always)]
    pub fn family(&self) -> Family {
        if self.is_v6 == 0 { Family::V4 } else { Family::V6 }
    }

    /// Its protocol.
    #[inline(always)]
    pub fn protocol(&self) -> Protocol {
        if self.is_udp == 0 { Protocol::Tcp } else { Protocol::Udp }
    }

    /// Where it comes from.
    #[inline(always)]
    pub fn source(&self) -> &Address {
        &self.source
    }

    /// Where it wants to go.
    #[inline(always)]
    pub fn destination(&self) -> &Address {
        &self.destination
    }

    /// The port there, host order.
    #[inline(always)]
    pub fn destination_port(&self) -> u16 {
        self.destination_port
    }

    /// Where the IP header begins, in bytes from the start of the packet.
    #[inline(always)]
    pub fn network(&self) -> usize {
        self.network.into()
    }

    /// Where the transport header begins, in bytes from the start of the packet.
    #[inline(always)]
    pub fn transport(&self) -> usize {
        usize::from(self.transport) & MOST_TRANSPORT
    }

    /// Where the fragment header of IPv6 begins, if this is a fragment, in bytes from the start of the packet.
    #[inline(always)]
    pub fn fragment(&self) -> Option<usize> {
        if self.fragment == 0 { None } else { Some(self.fragment.into()) }
    }

    /// Whether it is decided by itself: it may start a connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.flags.opens()
    }

    /// Whether it ends a connection at once.
    #[inline(always)]
    pub fn resets(&self) -> bool {
        self.flags.resets()
    }

    /// Whether it may be the last step of a handshake.
    #[inline(always)]
    pub fn acknowledges(&self) -> bool {
        self.flags.acknowledges()
    }
}
