//! The route look-up: which route, if any, a new connection has. The programs and the agent run this very code.

use crate::{
    Address, Family, Flow, Protocol,
    entries::{PortWord, PrefixEntry, Space},
};

/// The maps that the look-up reads.
pub trait Tables {
    /// The word of a port in `PORTS`.
    fn port(&self, family: Family, protocol: Protocol, port: u16) -> PortWord;
    /// The longest prefix of a destination in `PREFIXES`, within a space.
    fn prefix(&self, space: Space, destination: &Address) -> Option<PrefixEntry>;
    /// The longest prefix of a source in `SOURCES`, within a table.
    fn source(&self, table: u32, source: &Address) -> Option<PrefixEntry>;
}

/// Slot of the route that wins for a flow, where `word` is the entry of `PORTS` for its destination port.
///
/// Everything is decided when the entries are compiled: one prefix a space, one source a prefix, and a miss is final.
#[inline(always)]
pub fn route(tables: &impl Tables, word: PortWord, flow: &Flow) -> Option<u32> {
    if let Some(route) = word.as_direct() {
        return Some(route);
    }
    let single = if word.has_single() {
        let space = Space::port(flow.family, flow.protocol, flow.destination_port);
        in_space(tables, space, flow)
    } else {
        PrefixEntry::NONE
    };
    let class = match word.class() {
        Some(class) => in_space(tables, Space::class(class), flow),
        None => PrefixEntry::NONE,
    };
    // At the same rank the single port wins: it is the narrower range.
    let class_wins =
        single == PrefixEntry::NONE || class != PrefixEntry::NONE && class.rank() > single.rank();
    let entry = if class_wins { class } else { single };
    if entry == PrefixEntry::NONE { None } else { Some(entry.number()) }
}

/// What is decided in a space. Not an `Option`: of one without a value the compiler would keep a register that nobody has
/// written, which the verifier refuses.
#[inline(always)]
fn in_space(tables: &impl Tables, space: Space, flow: &Flow) -> PrefixEntry {
    let entry = tables.prefix(space, &flow.destination).unwrap_or(PrefixEntry::NONE);
    if entry == PrefixEntry::NONE || !entry.is_table() {
        return entry;
    }
    tables.source(entry.number(), &flow.source).unwrap_or(PrefixEntry::NONE)
}
