//! `PREFIXES` and `SOURCES`: which route has which addresses.

use super::port_index;
use crate::{Address, Family, Protocol};

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

    /// The number of the range class whose space this is, if it is one's.
    pub const fn as_class(self) -> Option<u32> {
        if self.0 & Self::CLASS != 0 { Some(self.0 & !Self::CLASS) } else { None }
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
    /// Nothing is decided here. Never written to a map.
    pub const NONE: Self = Self(u64::MAX);
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
