//! `REASONS` and `ROUTE_STATS`: what was counted.

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
