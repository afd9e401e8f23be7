//! What the reference is told of the host.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use redirector_common::{Protocol, Reason};

use super::{Flow, Packet, Rules, link::ETHERNET, transport::Segment};

/// The host.
#[derive(Debug, Default)]
pub struct Host {
    pub rules: Rules,
    /// The mark of steered packets.
    pub mark: u32,
    /// Whether `sk_lookup` is attached.
    pub attached: bool,
    /// MAC address of the bridge that the interface is a port of.
    pub bridge: Option<[u8; 6]>,
    /// Its addresses, as far as the programs are told.
    pub locals: HashSet<IpAddr>,
    /// The connections that it has, as a packet to them is addressed.
    pub connections: HashMap<Flow, Connection>,
    pub listeners: HashMap<(Protocol, SocketAddr), Listener>,
    /// Those that are up.
    pub interfaces: BTreeMap<String, Interface>,
    /// Acknowledgements of SYN cookies, with their sequence and acknowledgement numbers.
    pub cookies: Vec<(Flow, u32, u32)>,
    /// Who has sent cookies of late: no other listener takes one.
    pub cookie_listeners: HashSet<SocketAddr>,
}

/// In which state a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Open,
    TimeWait,
}

/// How a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Transparent,
    Plain,
    Mptcp,
    DeviceBound,
}

/// An interface that packets can leave by.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// In bytes, without the link's header.
    pub mtu: usize,
    pub ethernet: bool,
}

impl Host {
    /// The connection that a packet is part of.
    pub fn connection(&self, flow: &Flow) -> Option<Connection> {
        self.connections.get(flow).copied()
    }

    /// Whether this answers a SYN cookie, which a listener takes.
    pub fn is_cookie(&self, segment: &Segment, listener: SocketAddr) -> bool {
        let is = |(flow, sequence, acknowledgment): &(Flow, u32, u32)| {
            // The cookie says which of four segment sizes it is for; those here are for the first.
            let size = segment.acknowledgment.wrapping_sub(*acknowledgment);
            *flow == segment.flow && *sequence == segment.sequence && size < 4
        };
        self.cookie_listeners.contains(&listener) && segment.ends_handshake() && self.cookies.iter().any(is)
    }

    /// Whether the packet can leave by an interface: [`Reason::Interface`], or why not.
    pub fn next_hop(&self, name: &str, packet: &Packet, hops: u8) -> Reason {
        let Some(interface) = self.interfaces.get(name) else { return Reason::NoInterface };
        if hops < 2 {
            return Reason::HopLimit;
        }
        // What stands for several segments is cut before it leaves; those of a test run, which does not say where the
        // transport header begins, the kernel takes for too long (include/linux/skbuff.h, skb_gso_network_seglen).
        let (length, most) = if packet.gso_size == 0 {
            (packet.bytes.len() - packet.network(), interface.mtu)
        } else {
            (packet.bytes.len(), interface.mtu + ETHERNET)
        };
        if length > most { Reason::TooBig } else { Reason::Interface }
    }

    /// Whether the packet is ours to redirect, wherever its addresses lead.
    pub fn for_us(&self, packet: &Packet) -> Result<(), Reason> {
        if !packet.is_for_us() {
            return Err(Reason::OtherHost);
        }
        if packet.mark & self.mark != 0 { Err(Reason::Marked) } else { Ok(()) }
    }

    /// Whether packets leave by this interface with an Ethernet header.
    pub fn has_ethernet(&self, name: &str) -> bool {
        self.interfaces.get(name).is_some_and(|interface| interface.ethernet)
    }
}

/// Whether an address is of those that are left alone whatever the routes say: "this network", loopback, link-local,
/// multicast, class E and broadcast; in IPv6 multicast, link-local, and all of `::/64`.
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first == 0 || v4.is_loopback() || v4.is_link_local() || first >= 224
        }
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.segments()[..4] == [0; 4],
    }
}
