//! `REDIRECTOR`, `CAPTURED` and `LOCALS`: the settings, the captured interfaces, and the addresses of this host.

use crate::{Address, Family};

/// Version of the layout in [`Settings`]; a stranger's map of the same name can be told by it.
pub const LAYOUT_VERSION: u32 = 1;

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
    /// Mark by which a packet is known that came by another captured interface before; `mark`, but for a benchmark that
    /// runs one packet many times.
    pub seen: u32,
    /// Cookie of the network namespace that the programs serve.
    pub netns_cookie: u64,
}
const _: () = assert!(size_of::<Settings>() == 24);

/// An entry of `CAPTURED`, by ifindex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct CapturedEntry {
    /// MAC address of the bridge that the interface is a port of, else all zero.
    pub bridge: [u8; 6],
    /// Always zero.
    pub pad: u16,
}
const _: () = assert!(size_of::<CapturedEntry>() == 8);

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
