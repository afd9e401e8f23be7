//! The maps behind the route look-up.

use aya_ebpf::btf_maps::lpm_trie::Key;
use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{PortWord, PrefixEntry, PrefixKey, RouteEntry, Space, port_index},
    lookup::{self, Tables},
};

use crate::{
    maps::{PORTS, PREFIXES, ROUTES, SOURCES},
    packet::Segment,
};

/// The slot and the entry of the route that wins for a flow.
#[inline(always)]
pub fn find(word: PortWord, flow: &Flow) -> Option<(u32, RouteEntry)> {
    let slot = lookup::route(&Maps { family: flow.family }, word, flow)?;
    ROUTES.get(slot).map(|entry| (slot, *entry))
}

/// The same for a segment, by a call of its own.
#[inline(always)]
pub fn find_for(word: PortWord, segment: &Segment) -> Option<(u32, RouteEntry)> {
    let slot = route(segment, word.0);
    ROUTES.get(slot).map(|entry| (slot, *entry))
}

/// A slot that `ROUTES` does not have.
const NONE: u32 = u32::MAX;

/// Global for the verifier's sake, as [`decide`](crate::decide). Otherwise it goes through what follows once for each way in
/// which a route is found: of old kernels' verifiers few see that these lead to the same.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn route(segment: *const Segment, word: u32) -> u32 {
    // SAFETY: the caller's segment lives on its stack; the verifier has the pointer checked for null.
    let Some(segment) = (unsafe { segment.as_ref() }) else { return NONE };
    let flow = segment.flow();
    lookup::route(&Maps { family: flow.family }, PortWord(word), &flow).unwrap_or(NONE)
}

/// The word of a destination port.
#[inline(always)]
pub fn port(family: Family, protocol: Protocol, port: u16) -> PortWord {
    PORTS.get(port_index(family, protocol, port)).copied().unwrap_or(PortWord::NONE)
}

struct Maps {
    family: Family,
}

impl Maps {
    /// A key that matches any prefix of the address.
    #[inline(always)]
    fn key(&self, scope: u32, address: &Address) -> Key<PrefixKey> {
        let bits = PrefixKey::SCOPE_BITS + u32::from(self.family.address_bits());
        Key::new(bits, PrefixKey::new(scope, *address))
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn port(&self, family: Family, protocol: Protocol, number: u16) -> PortWord {
        port(family, protocol, number)
    }

    #[inline(always)]
    fn prefix(&self, space: Space, destination: &Address) -> Option<PrefixEntry> {
        PREFIXES.get(&self.key(space.0, destination)).copied()
    }

    #[inline(always)]
    fn source(&self, table: u32, source: &Address) -> Option<PrefixEntry> {
        SOURCES.get(&self.key(table, source)).copied()
    }
}
