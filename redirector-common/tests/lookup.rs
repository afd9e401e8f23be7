//! The route look-up over entries laid by hand. That the entries of real routes are right is for the agent's
//! tests of its compiler.

use std::collections::HashMap;

use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{PortWord, PrefixEntry, Space},
    lookup::{self, Tables},
};

const CLASS: u32 = 7;
const TABLE: u32 = 3;

/// One entry for each scope, found whatever the address.
#[derive(Default)]
struct Entries {
    prefixes: HashMap<Space, PrefixEntry>,
    sources: HashMap<u32, PrefixEntry>,
}

impl Tables for Entries {
    fn port(&self, _: Family, _: Protocol, _: u16) -> PortWord {
        unreachable!("the caller has read the word")
    }

    fn prefix(&self, space: Space, _: &Address) -> Option<PrefixEntry> {
        self.prefixes.get(&space).copied()
    }

    fn source(&self, table: u32, _: &Address) -> Option<PrefixEntry> {
        self.sources.get(&table).copied()
    }
}

/// What a packet to TCP port 80 gets, where its port's space and the class hold these entries.
fn route(word: PortWord, single: Option<PrefixEntry>, class: Option<PrefixEntry>) -> Option<u32> {
    let flow = Flow {
        family: Family::V4,
        protocol: Protocol::Tcp,
        source: Address::v4([192, 0, 2, 1]),
        destination: Address::v4([10, 0, 0, 1]),
        source_port: 40_000,
        destination_port: 80,
    };
    let single = single.map(|entry| (Space::port(Family::V4, Protocol::Tcp, 80), entry));
    let class = class.map(|entry| (Space::class(CLASS), entry));
    let sources = HashMap::from([(TABLE, PrefixEntry::route(9, 24, 16))]);
    lookup::route(&Entries { prefixes: single.into_iter().chain(class).collect(), sources }, word, &flow)
}

#[test]
fn port_that_no_route_names_has_none() {
    assert_eq!(route(PortWord::NONE, None, None), None);
    assert_eq!(route(PortWord::NONE.with_steered(), None, None), None);
}

#[test]
fn direct_word_decides_without_a_prefix() {
    assert_eq!(route(PortWord::direct(0), None, None), Some(0));
    assert_eq!(route(PortWord::direct(5).with_steered(), None, None), Some(5));
}

#[test]
fn only_the_spaces_that_the_word_names_are_looked_at() {
    let (one, two) = (Some(PrefixEntry::route(1, 8, 0)), Some(PrefixEntry::route(2, 32, 0)));
    assert_eq!(route(PortWord::spaces(true, None), one, two), Some(1));
    assert_eq!(route(PortWord::spaces(false, Some(CLASS)), one, two), Some(2));
    assert_eq!(route(PortWord::spaces(false, Some(CLASS + 1)), one, two), None);
}

#[test]
fn higher_rank_wins_and_at_the_same_rank_the_single_port() {
    let word = PortWord::spaces(true, Some(CLASS));
    let single = Some(PrefixEntry::route(1, 16, 8));
    for (destination_bits, source_bits, winner) in
        [(16, 8, 1), (16, 7, 1), (15, 32, 1), (16, 9, 2), (17, 0, 2)]
    {
        let class = Some(PrefixEntry::route(2, destination_bits, source_bits));
        assert_eq!(route(word, single, class), Some(winner), "{destination_bits} {source_bits}");
    }
    assert_eq!(route(word, None, single), Some(1));
    assert_eq!(route(word, single, None), Some(1));
}

#[test]
fn source_table_decides_where_the_prefix_says_so() {
    let word = PortWord::spaces(true, Some(CLASS));
    let table = Some(PrefixEntry::table(TABLE));
    assert_eq!(route(word, table, None), Some(9));
    // The rank is that of the entry in the table.
    assert_eq!(route(word, table, Some(PrefixEntry::route(2, 24, 17))), Some(2));
    assert_eq!(route(word, table, Some(PrefixEntry::route(2, 24, 15))), Some(9));
    // Its miss is a miss, and leaves the decision to the other space.
    let empty = Some(PrefixEntry::table(TABLE + 1));
    assert_eq!(route(word, empty, None), None);
    assert_eq!(route(word, empty, Some(PrefixEntry::route(2, 0, 0))), Some(2));
}
