//! `PORTS`: what the routes say of each port.

use crate::{Family, Protocol};

/// Number of entries in `PORTS`: one word for each family, protocol and port.
pub const PORT_WORDS: u32 = Family::COUNT * Protocol::COUNT * 0x1_0000;

/// Number of a port's word in `PORTS`; also the number of the port's own [`Space`](super::Space).
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
    const FORWARDED: u32 = 1 << 27;
    const NUMBER: u32 = Self::FORWARDED - 1;
    /// How many route slots and range classes a word can name.
    pub const NUMBERS: u32 = Self::NUMBER + 1;

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

    /// The same word for a port that a route to an interface names: every packet is looked up, not only a SYN.
    pub const fn with_forwarded(self) -> Self {
        Self(self.0 | Self::FORWARDED)
    }

    /// Whether a route to an interface names this port.
    #[inline(always)]
    pub const fn is_forwarded(self) -> bool {
        self.0 & Self::FORWARDED != 0
    }

    /// Whether a proxy route names, or has named, this port.
    #[inline(always)]
    pub const fn is_steered(self) -> bool {
        self.0 & Self::STEERED != 0
    }

    /// Whether any route names the port.
    #[inline(always)]
    pub const fn has_route(self) -> bool {
        self.0 & (Self::DIRECT | Self::SINGLE | Self::CLASS) != 0
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
