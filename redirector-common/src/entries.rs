//! Keys and values of the maps, as both sides read them.
//!
//! Every type is `repr(C)`, has no padding that is not a named field, and is asserted in size.

use crate::{Address, Family, Flow, Protocol};

/// Version of the layout in [`Settings`]; a stranger's map of the same name can be told by it.
pub const LAYOUT_VERSION: u32 = 1;

/// Number of entries in `PORTS`: one word for each family, protocol and port.
pub const PORT_WORDS: u32 = Family::COUNT * Protocol::COUNT * 0x1_0000;

/// Number of a port's word in `PORTS`; also the number of the port's own [`Space`].
#[inline(always)]
pub const fn port_index(family: Family, protocol: Protocol, port: u16) -> u32 {
    (family as u32 * Protocol::COUNT + protocol as u32) << 16 | port as u32
}

/// What the routes say of one port: an entry of `PORTS`. Zero: no route names the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PortWord(pub u32);

impl PortWord {
    /// No route names the port.
    pub const NONE: Self = Self(0);
    const STEERED: u32 = 1 << 31;
    const DIRECT: u32 = 1 << 30;
    const SINGLE: u32 = 1 << 29;
    const CLASS: u32 = 1 << 28;
    const NUMBER: u32 = Self::CLASS - 1;

    /// A port without any condition on addresses: the route's slot.
    pub const fn direct(route: u32) -> Self {
        Self(Self::DIRECT | route)
    }

    /// A port whose prefixes stand in its own space, in a range class, or in both.
    pub const fn spaces(single: bool, class: Option<u32>) -> Self {
        let single = if single { Self::SINGLE } else { 0 };
        match class {
            Some(class) => Self(single | Self::CLASS | class),
            None => Self(single),
        }
    }

    /// The same word for a port that a proxy route names or has named: connections to it may exist that
    /// packets must be led to.
    pub const fn with_steered(self) -> Self {
        Self(self.0 | Self::STEERED)
    }

    /// Whether a proxy route names, or has named, this port.
    #[inline(always)]
    pub const fn is_steered(self) -> bool {
        self.0 & Self::STEERED != 0
    }

    /// The route's slot, where no address decides.
    #[inline(always)]
    pub const fn as_direct(self) -> Option<u32> {
        if self.0 & Self::DIRECT != 0 { Some(self.0 & Self::NUMBER) } else { None }
    }

    /// Whether the port has a space of its own.
    #[inline(always)]
    pub const fn has_single(self) -> bool {
        self.0 & Self::SINGLE != 0
    }

    /// The number of the port's range class.
    #[inline(always)]
    pub const fn class(self) -> Option<u32> {
        if self.0 & Self::CLASS != 0 { Some(self.0 & Self::NUMBER) } else { None }
    }
}

/// A set of destination prefixes of its own within `PREFIXES`: a single port's, or a range class's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Space(pub u32);

impl Space {
    const CLASS: u32 = 1 << 31;

    /// The space of a single port.
    #[inline(always)]
    pub const fn port(family: Family, protocol: Protocol, port: u16) -> Self {
        Self(port_index(family, protocol, port))
    }

    /// The space of a range class. A class belongs to one family and one protocol.
    #[inline(always)]
    pub const fn class(class: u32) -> Self {
        Self(Self::CLASS | class)
    }
}

/// What an LPM trie compares: a space (`PREFIXES`) or a source table (`SOURCES`), always whole, then an
/// address, as many bits of it as the prefix has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct PrefixKey {
    /// Number of the [`Space`] or of the source table.
    pub scope: u32,
    /// Destination or source.
    pub address: Address,
    /// Always zero. Makes the value that follows in the trie's node aligned to eight bytes.
    pub pad: u32,
}
const _: () = assert!(size_of::<PrefixKey>() == 24);

impl PrefixKey {
    /// Bits of the scope, which every entry matches whole.
    pub const SCOPE_BITS: u32 = 32;

    /// The key of an address within a scope.
    #[inline(always)]
    pub const fn new(scope: u32, address: Address) -> Self {
        Self { scope, address, pad: 0 }
    }
}

/// Value in `PREFIXES` and `SOURCES`: a route with its rank, or (in `PREFIXES`) a source table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PrefixEntry(pub u64);

impl PrefixEntry {
    const TABLE: u64 = 1 << 63;

    /// The route that wins here, and the lengths in bits of the two prefixes by which it does.
    pub const fn route(slot: u32, destination_bits: u8, source_bits: u8) -> Self {
        Self((destination_bits as u64) << 40 | (source_bits as u64) << 32 | slot as u64)
    }

    /// The source decides: look it up in this table of `SOURCES`.
    pub const fn table(number: u32) -> Self {
        Self(Self::TABLE | number as u64)
    }

    /// Whether the number is that of a source table.
    #[inline(always)]
    pub const fn is_table(self) -> bool {
        self.0 & Self::TABLE != 0
    }

    /// Slot of the route, or number of the source table.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// How specific the route is by its prefixes: the higher wins.
    #[inline(always)]
    pub const fn rank(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What a route does with a new connection: the `kind` of a [`RouteEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RouteKind {
    /// Leave alone. Also what a slot without a route reads as.
    Pass = 0,
    /// Drop.
    Drop = 1,
    /// Steer to the proxy in `target`, a slot of `PROXIES`.
    Proxy = 2,
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
    /// For a proxy its slot in `PROXIES`, else zero.
    pub target: u32,
}
const _: () = assert!(size_of::<RouteEntry>() == 8);

/// An entry of `PROXIES`: where a proxy's listener is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ProxyEntry {
    /// IPv4 address of the listener; all zero where the proxy has none.
    pub v4: Address,
    /// IPv6 address of the listener; all zero where the proxy has none.
    pub v6: Address,
    /// Port of the listener, host order.
    pub port: u16,
    /// Always zero.
    pub pad: u16,
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
}

/// Index of a proxy's listener in `LISTENERS`.
#[inline(always)]
pub const fn listener_index(proxy: u32, protocol: Protocol, family: Family) -> u32 {
    (proxy * Protocol::COUNT + protocol as u32) * Family::COUNT + family as u32
}

/// The proxy, protocol and family of an index in `LISTENERS`.
#[inline(always)]
pub const fn listener_of(index: u32) -> (u32, Protocol, Family) {
    let family = if index & 1 == 0 { Family::V4 } else { Family::V6 };
    let protocol = if index & 2 == 0 { Protocol::Tcp } else { Protocol::Udp };
    (index / LISTENERS_PER_PROXY, protocol, family)
}

/// Listeners a proxy can have: one for each protocol and family.
pub const LISTENERS_PER_PROXY: u32 = Protocol::COUNT * Family::COUNT;

/// The one entry of `REDIRECTOR`. A program that uses a map of that name is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Settings {
    /// [`LAYOUT_VERSION`]
    pub version: u32,
    /// Mark on a packet that is to be delivered on this host; value and mask.
    pub mark: u32,
    /// Seed of the hash by which `LOCALS` is laid out.
    pub locals_seed: u32,
    /// Always zero.
    pub pad: u32,
    /// Cookie of the network namespace that the programs serve.
    pub netns_cookie: u64,
}
const _: () = assert!(size_of::<Settings>() == 24);

/// Slots of `LOCALS` for each family; a power of two.
pub const LOCALS_PER_FAMILY: u32 = 4096;

/// Slot in `LOCALS` of an address of this host. The agent picks a seed by which no two addresses of the
/// host share a slot, or as few as can be.
#[inline(always)]
pub fn locals_slot(family: Family, address: &Address, seed: u32) -> u32 {
    let [first, second, third, fourth] = address.words();
    let hash = mix(u64::from(seed) ^ u64::from(first));
    let hash = match family {
        Family::V4 => hash,
        Family::V6 => mix(mix(mix(hash ^ u64::from(second)) ^ u64::from(third)) ^ u64::from(fourth)),
    };
    family as u32 * LOCALS_PER_FAMILY + (hash >> 32) as u32 % LOCALS_PER_FAMILY
}

/// Spreads every bit over the upper half: neighbouring addresses differ in bits that a mere multiplication of words loses.
/// The constant is 2^64 divided by the golden ratio, as in Fibonacci hashing.
#[inline(always)]
const fn mix(hash: u64) -> u64 {
    let product = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

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

/// A per-CPU value of `REASONS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PacketCount {
    /// Packets.
    pub packets: u64,
    /// Bytes as the device counts them: with the link-layer header.
    pub bytes: u64,
}
const _: () = assert!(size_of::<PacketCount>() == 16);

/// A per-CPU value of `ROUTE_STATS`. A retransmitted SYN of a connection that nobody took counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RouteCount {
    /// New connections that got the route's target.
    pub connections: u64,
    /// New connections that got the route's `on_unavailable`.
    pub unavailable: u64,
    /// Of those steered, the ones that `sk_lookup` gave to the proxy. What is missing was lost in between: to a
    /// firewall's INPUT chain, say.
    pub taken: u64,
}
const _: () = assert!(size_of::<RouteCount>() == 24);

/// Key and data of the LPM tries as the agent sees them.
#[cfg(feature = "user")]
mod pod {
    use super::*;

    // SAFETY: `repr(transparent)` over u32: every bit pattern is a value, and there is no padding.
    unsafe impl aya::Pod for PortWord {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for PrefixKey {}
    // SAFETY: `repr(transparent)` over u64: every bit pattern is a value, and there is no padding.
    unsafe impl aya::Pod for PrefixEntry {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for RouteEntry {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for ProxyEntry {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for Settings {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for Handoff {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for PacketCount {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for RouteCount {}
    // SAFETY: `repr(transparent)` over four words: every bit pattern is a value, and there is no padding.
    unsafe impl aya::Pod for Address {}
}
