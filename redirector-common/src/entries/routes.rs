//! `ROUTES`, `PROXIES`, `LISTENERS` and `NEXT_HOPS`: what a route does, and with whom.

use crate::{Address, Family, Protocol};

/// What a route does with a new connection: the `kind` of a [`RouteEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RouteKind {
    /// Leave alone. Also what a slot without a route reads as.
    Pass = 0,
    /// Drop.
    Drop = 1,
    /// Steer to the proxy in `target`, a slot of `PROXIES`.
    Proxy = 2,
    /// Send every packet to the next hop in `target`, a slot of `NEXT_HOPS`.
    Interface = 3,
}

/// What a new connection gets when the route's target cannot take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OnUnavailable {
    /// Go on as if there were no route.
    #[default]
    Pass = 0,
    /// Drop.
    Drop = 1,
    /// Refuse at once: a TCP reset, or for a datagram ICMP's port unreachable.
    Reset = 2,
}

/// An entry of `ROUTES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RouteEntry {
    /// A [`RouteKind`].
    pub kind: u8,
    /// An [`OnUnavailable`].
    pub on_unavailable: u8,
    /// Always zero.
    pub pad: u16,
    /// For a proxy its slot in `PROXIES`, for an interface that in `NEXT_HOPS`, else zero.
    pub target: u32,
}
const _: () = assert!(size_of::<RouteEntry>() == 8);

/// Bytes of a value in `ROUTE_NAMES`: the beginning of a route's name, and zeros behind a shorter one.
pub const ROUTE_NAME_BYTES: usize = 64;

/// An entry of `PROXIES`: where a proxy's listener is looked for. One that listens by TCP and by UDP is two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ProxyEntry {
    /// IPv4 address of the listener; all zero where the proxy has none.
    pub v4: Address,
    /// IPv6 address of the listener; all zero where the proxy has none.
    pub v6: Address,
    /// Port of the listener, host order.
    pub port: u16,
    /// By what it listens: a [`Protocol`].
    pub protocol: u8,
    /// Always zero.
    pub pad: u8,
}
const _: () = assert!(size_of::<ProxyEntry>() == 36);

impl ProxyEntry {
    /// The listener's address in a family; all zero where the proxy has none.
    #[inline(always)]
    pub const fn address(&self, family: Family) -> &Address {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// By what it listens.
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        if self.protocol == Protocol::Udp as u8 { Protocol::Udp } else { Protocol::Tcp }
    }
}

/// Index of a proxy's listener in `LISTENERS`.
#[inline(always)]
pub const fn listener_index(proxy: u32, family: Family) -> u32 {
    proxy * LISTENERS_PER_PROXY + family as u32
}

/// The proxy and family of an index in `LISTENERS`.
#[inline(always)]
pub const fn listener_of(index: u32) -> (u32, Family) {
    let family = if index & 1 == 0 { Family::V4 } else { Family::V6 };
    (index / LISTENERS_PER_PROXY, family)
}

/// Listeners a proxy can have: one for each family.
pub const LISTENERS_PER_PROXY: u32 = Family::COUNT;

/// An entry of `NEXT_HOPS`: the interface that packets leave by, and the neighbour there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct NextHopEntry {
    /// The interface; zero while there is none of its name that is up.
    pub ifindex: u32,
    /// The neighbour, where it is not the packet's destination.
    pub via: Address,
    /// Whether `via` says anything, and of which family it is: a [`Via`].
    pub via_kind: u8,
    /// Whether the interface has an Ethernet header, and so neighbours: 0 or 1.
    pub ethernet: u8,
    /// Always zero.
    pub pad: u16,
}
const _: () = assert!(size_of::<NextHopEntry>() == 24);

/// Whose address the neighbour on a next hop's interface has: the `via_kind` of a [`NextHopEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Via {
    /// The packet's destination.
    #[default]
    Destination = 0,
    /// A router with an IPv4 address.
    V4 = 1,
    /// A router with an IPv6 address.
    V6 = 2,
}

/// Slots of `NEXT_HOPS`.
pub const NEXT_HOPS: u32 = 256;
