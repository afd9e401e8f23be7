//! The layout of the entries: what is packed comes out again, and no two things share a number.

use std::collections::HashSet;

use redirector_common::{
    Address, Family, Flow, Protocol,
    entries::{
        Handoff, HandoffState, LISTENERS_PER_PROXY, LOCALS_PER_FAMILY, PORT_WORDS, PortWord, PrefixEntry,
        Space, listener_index, listener_of, locals_slot, port_index,
    },
};

/// The highest number that a word of `PORTS` holds.
const HIGHEST: u32 = PortWord::NUMBERS - 1;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn families_and_protocols() -> impl Iterator<Item = (Family, Protocol)> {
    FAMILIES.into_iter().flat_map(|family| PROTOCOLS.map(|protocol| (family, protocol)))
}

#[test]
fn every_port_has_a_word_of_its_own() {
    let indices: HashSet<u32> = families_and_protocols()
        .flat_map(|(family, protocol)| (0..=u16::MAX).map(move |port| port_index(family, protocol, port)))
        .collect();
    assert_eq!(indices.len(), PORT_WORDS as usize);
    assert!(indices.iter().all(|index| *index < PORT_WORDS));
}

#[test]
fn no_class_shares_its_space_with_a_port() {
    let ports = Space::port(Family::V6, Protocol::Udp, u16::MAX);
    assert!(ports < Space::class(0) && Space::class(0) < Space::class(HIGHEST));
}

#[test]
fn word_of_a_port_gives_back_what_it_was_made_of() {
    for steer in [|word: PortWord| word, PortWord::with_steered, PortWord::with_forwarded] {
        for number in [0, 1, HIGHEST] {
            let direct = steer(PortWord::direct(number));
            assert_eq!(
                (direct.as_direct(), direct.has_single(), direct.class()),
                (Some(number), false, None)
            );
            for single in [false, true] {
                let word = steer(PortWord::spaces(single, Some(number)));
                assert_eq!((word.as_direct(), word.has_single(), word.class()), (None, single, Some(number)));
            }
        }
        let single = steer(PortWord::spaces(true, None));
        assert_eq!((single.as_direct(), single.has_single(), single.class()), (None, true, None));
    }
    assert!(PortWord::direct(HIGHEST).with_steered().is_steered() && !PortWord::direct(HIGHEST).is_steered());
    assert!(
        PortWord::direct(HIGHEST).with_forwarded().is_forwarded()
            && !PortWord::direct(HIGHEST).is_forwarded()
    );
    assert_eq!(PortWord::NONE, PortWord::default());
}

#[test]
fn prefix_entry_gives_back_what_it_was_made_of() {
    let route = PrefixEntry::route(u32::MAX, 128, 128);
    assert_eq!((route.is_table(), route.number()), (false, u32::MAX));
    let table = PrefixEntry::table(u32::MAX);
    assert_eq!((table.is_table(), table.number()), (true, u32::MAX));
}

#[test]
fn destination_counts_before_source_in_a_rank() {
    let rank = |destination_bits, source_bits| PrefixEntry::route(0, destination_bits, source_bits).rank();
    let ascending =
        [rank(0, 0), rank(0, 128), rank(1, 0), rank(1, 1), rank(32, 0), rank(128, 0), rank(128, 128)];
    assert!(ascending.is_sorted_by(|a, b| a < b), "{ascending:?}");
    assert_eq!(PrefixEntry::route(0, 8, 8).rank(), PrefixEntry::route(u32::MAX, 8, 8).rank());
}

#[test]
fn every_listener_of_a_proxy_has_an_index_of_its_own() {
    for proxy in [0, 255] {
        for family in FAMILIES {
            let index = listener_index(proxy, family);
            assert_eq!(index / LISTENERS_PER_PROXY, proxy);
            assert_eq!(listener_of(index), (proxy, family));
        }
    }
}

#[test]
fn families_keep_apart_in_locals() {
    let address = Address::v6([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    for seed in 0..64 {
        assert!(locals_slot(Family::V4, &Address::v4([10, 0, 0, 1]), seed) < LOCALS_PER_FAMILY);
        let slot = locals_slot(Family::V6, &address, seed);
        assert!((LOCALS_PER_FAMILY..2 * LOCALS_PER_FAMILY).contains(&slot));
    }
}

#[test]
fn handoff_is_for_its_own_flow_and_no_other() {
    let flow = Flow {
        family: Family::V4,
        protocol: Protocol::Tcp,
        source: Address::v4([192, 0, 2, 1]),
        destination: Address::v4([10, 0, 0, 1]),
        source_port: 40_000,
        destination_port: 80,
    };
    let handoff = Handoff::new(HandoffState::Steer, &flow, 1, 2);
    assert!(handoff.is_for(&flow));
    for other in [
        Flow { family: Family::V6, ..flow },
        Flow { protocol: Protocol::Udp, ..flow },
        Flow { source: Address::v4([192, 0, 2, 2]), ..flow },
        Flow { destination: Address::v4([10, 0, 0, 2]), ..flow },
        Flow { source_port: 40_001, ..flow },
        Flow { destination_port: 81, ..flow },
    ] {
        assert!(!handoff.is_for(&other), "{other:?}");
    }
}
