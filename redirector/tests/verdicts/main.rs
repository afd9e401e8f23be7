//! The verdict table: a packet in, and all that it causes out, for every [`Reason`].
//!
//! Each packet goes through `tc_ingress` by BPF_PROG_TEST_RUN, once with each of several marks. Compared are the
//! return value, the whole packet, the mark and the rest of the context, every counter of packets and of routes,
//! and what was handed over to `sk_lookup`. What no row expects to move must not move.
//!
//! Two things a test run cannot show, and tests between namespaces do: a tag that the device has taken off
//! (`vlan_present` cannot be set), and headers outside of the packet's linear part.

use std::collections::BTreeSet;

use redirector_common::Reason;

mod answers;
mod effects;
mod events;
mod explain;
mod fragments;
mod links;
mod packet;
mod rows;
mod shapes;
mod sockets;
mod stack;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod sweeps;
mod table;

use stage::{MARK, SkLookup, Stage, on_stage};
use table::Row;

/// Instructions that the verifier went through, at the last change of this table, by Linux 6.18. That of 6.1 goes through
/// more: docs/kernels.md has them.
const VERIFIED: [(&str, u32); 6] = [
    ("learn_listener", 543),
    ("sk_lookup", 4914),
    ("tc_ingress", 16477),
    ("tc_ingress_idle", 2),
    ("tc_ingress_l3", 16269),
    ("tc_ingress_port", 16622),
];

/// The kernel of the table, and by how much its figures may be exceeded before somebody has to look, in percent.
const TABLE: (&str, u32) = ("6.18.", 110);

/// The most of them that a program may have, on any kernel. The kernel's own limit is 1,000,000.
const MOST_VERIFIED: u32 = 20_000;

/// Marks that a packet may bring along. Whatever is in them stays.
const MARKS: [u32; 2] = [0, !MARK];

#[test]
fn every_packet_gets_its_verdict() {
    on_stage(SkLookup::Attached, |stage| {
        let rows = rows::attached(&stage.sockets.cookies);
        assert_rows(stage, &rows);
    });
}

#[test]
fn without_sk_lookup_no_new_connection_is_steered() {
    on_stage(SkLookup::Detached, |stage| assert_rows(stage, &rows::detached()));
}

#[test]
fn every_reason_has_a_row() {
    let cookie = rows::any_cookie();
    let rows = rows::attached(&[cookie]).into_iter().chain(rows::detached());
    // A row cannot ask for a mark: `links` shows that one.
    let shown: BTreeSet<Reason> = rows.map(|row| row.expected.reason).chain([Reason::Marked]).collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !shown.contains(reason)).collect();
    assert!(missing.is_empty(), "no row shows {missing:?}");
}

#[test]
fn every_row_has_a_name_of_its_own() {
    let cookie = rows::any_cookie();
    let mut names = BTreeSet::new();
    for row in rows::attached(&[cookie]) {
        assert!(names.insert(row.name.clone()), "two rows are called {:?}", row.name);
    }
}

#[test]
fn every_program_is_cheap_to_verify() {
    on_stage(SkLookup::Detached, |stage| {
        let now = stage.datapath.verified_instructions().expect("describe the programs");
        let names: Vec<_> = now.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, VERIFIED.map(|(name, _)| name), "the programs");
        println!("{:16} {:>9} {:>9}", "program", "verified", "the table");
        for ((name, instructions), (_, before)) in now.iter().zip(VERIFIED) {
            println!("{name:16} {instructions:>9} {before:>9}");
        }
        let release = nix::sys::utsname::uname().expect("ask which kernel this is");
        let release = release.release().to_string_lossy();
        for ((name, instructions), (_, before)) in now.iter().zip(VERIFIED) {
            assert!(*instructions < MOST_VERIFIED, "{name} has {instructions} verified instructions");
            if release.starts_with(TABLE.0) {
                let limit = before * TABLE.1 / 100;
                assert!(
                    *instructions <= limit,
                    "{name} has {instructions} verified instructions, not {before}"
                );
            }
        }
    });
}

/// Runs every row and reports all that differ.
fn assert_rows(stage: &mut Stage, rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        for mark in MARKS {
            let expected = stage.effects(&row.packet, mark, &row.expected);
            let found = stage
                .run("tc_ingress", &row.packet, mark)
                .unwrap_or_else(|error| panic!("{}: {error}", row.name));
            if found != expected {
                wrong.push(format!(
                    "{}, mark {mark:#x}\n  expected {expected:?}\n  found    {found:?}",
                    row.name
                ));
                break;
            }
        }
    }
    println!("{} rows, each with {} marks", rows.len(), MARKS.len());
    assert!(wrong.is_empty(), "{} of {} rows differ:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
