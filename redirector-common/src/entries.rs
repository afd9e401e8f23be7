//! Keys and values of the maps, as both sides read them.
//!
//! Every type is `repr(C)` or transparent, has no padding that is not a named field, and is asserted in size.

mod counts;
mod events;
mod fragments;
mod handoff;
mod host;
mod ports;
mod prefixes;
mod routes;
mod trial;

pub use counts::*;
pub use events::*;
pub use fragments::*;
pub use handoff::*;
pub use host::*;
pub use ports::*;
pub use prefixes::*;
pub use routes::*;
pub use trial::*;

/// Key and data of the LPM tries as the agent sees them.
#[cfg(feature = "user")]
mod pod {
    use super::*;
    use crate::Address;

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
    unsafe impl aya::Pod for NextHopEntry {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for CapturedEntry {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for Settings {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for FragmentKey {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for FragmentEntry {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for Handoff {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for PacketCount {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for RouteCount {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for FlowEvent {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for EventSettings {}
    // SAFETY: `repr(C)`, its fields fill it (size asserted) and take any bit pattern.
    unsafe impl aya::Pod for EventLosses {}
    // SAFETY: `repr(transparent)` over four words: every bit pattern is a value, and there is no padding.
    unsafe impl aya::Pod for Address {}
}
