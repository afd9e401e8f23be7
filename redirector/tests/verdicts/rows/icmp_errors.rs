//! ICMP errors, for sockets that speak as addresses which are not of this host, and for nobody.

use std::net::IpAddr;

use redirector_common::Reason;

use super::Rows;
use crate::{
    packet::{IP, Packet, Segment, flag},
    shapes::{Extension, icmp_error, number},
    sockets::{port, silent, taken},
    support::world::Family,
    table::{Expected, marked, passed},
};

/// Types and codes that are errors.
fn errors(family: Family) -> &'static [[u8; 2]] {
    match family {
        Family::V4 => &[[3, 0], [3, 1], [3, 3], [3, 4], [3, 13], [4, 0], [11, 0], [11, 1], [12, 0]],
        Family::V6 => &[[1, 0], [1, 4], [2, 0], [3, 0], [3, 1], [4, 0], [4, 1]],
    }
}

/// Too big: what path MTU discovery depends on.
fn too_big(family: Family) -> [u8; 2] {
    if family == Family::V4 { [3, 4] } else { [2, 0] }
}

pub fn both(rows: &mut Rows, family: Family) {
    let other = passed(Reason::OtherProtocol);
    let error = marked(Reason::IcmpError);
    let router = silent(family);
    let own = taken(family);
    let answer = answer(family, 8080, port::ESTABLISHED);
    let embedded = answer.embedded(usize::MAX);
    for &kind in errors(family) {
        let name = format!("ICMP {kind:?}");
        rows.add(format!("{name} for a connection"), icmp_error(router, own, kind, &embedded), error);
        rows.add(format!("{name} for nobody"), icmp_error(router, own, kind, &nobody(family)), other);
    }
    for kind in 0..=255 {
        if errors(family).iter().all(|error| error[0] != kind) {
            let packet = icmp_error(router, own, [kind, 0], &embedded);
            rows.add(format!("ICMP type {kind}"), packet, other);
        }
    }
    let mut add = |name: &str, embedded: &[u8], expected: Expected| {
        let packet = icmp_error(router, own, too_big(family), embedded);
        rows.add(format!("an ICMP error, {name}"), packet, expected);
    };
    let header = if family == Family::V4 { 20 } else { 40 };
    for length in 0..=embedded.len() {
        let expected = if length >= header + 8 { error } else { other };
        add(&format!("{length} bytes of the packet"), &embedded[..length], expected);
    }
    let edited = |change: &dyn Fn(Packet) -> Packet| change(answer.clone()).embedded(usize::MAX);
    let version = if family == Family::V4 { 0x65 } else { 0x40 };
    add("another version within", &edited(&|packet| packet.byte(IP, version)), other);
    let protocol = if family == Family::V4 { IP + 9 } else { IP + 6 };
    for number in [number::ICMP, number::ICMP_V6, number::NONE, 132] {
        let within = edited(&|packet| packet.byte(protocol, number));
        add(&format!("protocol {number} within"), &within, other);
    }
    for (name, source, destination) in [
        ("of another port", (own, 8081), (family.client(), port::ESTABLISHED)),
        ("of another client port", (own, 8080), (family.client(), port::FRESH)),
        ("of another client", (own, 8080), (silent(family), port::ESTABLISHED)),
        ("of another address of ours", (family.service(), 8080), (family.client(), port::ESTABLISHED)),
        ("of a port without a route", (own, 7), (family.client(), port::ESTABLISHED)),
        ("of a port of a pass route", (own, 8090), (family.client(), port::ESTABLISHED)),
    ] {
        let within = Segment::syn(source.into(), destination.into()).with(flag::ACK).packet();
        add(name, &within.embedded(usize::MAX), other);
    }
    // The other way round: what the client had sent.
    let sent = Segment::syn((family.client(), port::ESTABLISHED).into(), (own, 8080).into());
    add("of what was sent to it", &sent.packet().embedded(usize::MAX), other);
    let gone = Segment::syn((own, 8082).into(), (family.client(), port::ESTABLISHED).into());
    add("of a connection whose proxy cannot take more", &gone.packet().embedded(usize::MAX), error);
    let closed = Segment::syn((own, 8081).into(), (family.client(), port::TIME_WAIT).into());
    add("of a connection in TIME_WAIT", &closed.packet().embedded(usize::MAX), error);
    let half = Segment::syn((own, 8080).into(), (silent(family), port::HALF_OPEN).into());
    add("of a connection in SYN_RECV", &half.packet().embedded(usize::MAX), error);
    datagrams(rows, family);
    destinations(rows, family, &embedded);
}

/// For sockets of UDP: connected ones, and such as a route leads to.
fn datagrams(rows: &mut Rows, family: Family) {
    let mut add = |name: &str, from: (IpAddr, u16), to: (IpAddr, u16), expected: Expected| {
        let within = Segment { payload: b"an answer", ..Segment::datagram(from.into(), to.into()) };
        let packet = icmp_error(silent(family), from.0, too_big(family), &within.packet().embedded(48));
        rows.add(format!("an ICMP error, UDP {name}"), packet, expected);
    };
    let error = marked(Reason::IcmpError);
    let other = passed(Reason::OtherProtocol);
    let client = (family.client(), port::ESTABLISHED);
    add("of a connected socket", (taken(family), 8380), client, error);
    add("of a connected socket whose proxy is gone", (taken(family), 8388), client, error);
    add("of a proxy that is not connected", (family.service(), 8380), client, error);
    add("of a port without a route", (family.service(), 7), client, other);
    add("of a port of a drop route", (family.service(), 8191), client, other);
    add("from where no route leads", (taken(family), 8381), (silent(family), 1), other);
    add("at the node", (family.node(), 8380), client, other);
}

fn destinations(rows: &mut Rows, family: Family, embedded: &[u8]) {
    let (router, kind) = (silent(family), too_big(family));
    let other = passed(Reason::OtherProtocol);
    let service = icmp_error(router, family.service(), kind, embedded);
    rows.add("an ICMP error to somebody else than it speaks of", service, other);
    let within = Segment::syn((family.node(), 8080).into(), (family.client(), port::ESTABLISHED).into());
    let within = within.with(flag::ACK).packet().embedded(usize::MAX);
    rows.add("an ICMP error to the node", icmp_error(router, family.node(), kind, &within), other);
    let valid = || icmp_error(router, taken(family), kind, embedded);
    let overheard = valid().bytes(0, &[2, 0, 0, 0, 0, 9]);
    rows.add("an ICMP error for another host", overheard, passed(Reason::OtherHost));
    let short = valid().frame.len() - 1;
    rows.add("an ICMP error whose last byte is missing", valid().cut(short), passed(Reason::Truncated));
    rows.add("an ICMP error of length 0", valid().stated_length(0), passed(Reason::Malformed));
    let padded = valid().edit(|frame| frame.extend([0xff; 7]));
    rows.add("padding behind an ICMP error", padded, marked(Reason::IcmpError));
}

pub fn v4(rows: &mut Rows) {
    let family = Family::V4;
    let (router, own) = (silent(family), taken(family));
    let error = |embedded: &Packet| icmp_error(router, own, [3, 4], &embedded.embedded(usize::MAX));
    let answer = answer(family, 8080, port::ESTABLISHED);
    for words in 5..=15 {
        let within = answer.clone().options(words);
        rows.add(format!("an ICMP error, {words} words within"), error(&within), marked(Reason::IcmpError));
        let around = error(&answer).options(words).right_checksum();
        rows.add(format!("an ICMP error behind {words} words"), around, marked(Reason::IcmpError));
    }
    for words in 0..5 {
        let within = answer.clone().byte(IP, 0x40 | words);
        rows.add(
            format!("an ICMP error, {words} words within"),
            error(&within),
            passed(Reason::OtherProtocol),
        );
    }
    for (name, field, expected) in [
        ("a first fragment", [0x20, 0], marked(Reason::IcmpError)),
        ("don't fragment", [0x40, 0], marked(Reason::IcmpError)),
        ("a later fragment", [0, 1], passed(Reason::OtherProtocol)),
    ] {
        let within = answer.clone().bytes(IP + 6, &field);
        rows.add(format!("an ICMP error, {name} within"), error(&within), expected);
    }
    for field in [[0x20, 0], [0, 1]] {
        let packet = error(&answer).bytes(IP + 6, &field);
        rows.add(format!("an ICMP error in fragments {field:?}"), packet, passed(Reason::OtherProtocol));
    }
}

pub fn v6(rows: &mut Rows) {
    let family = Family::V6;
    let (router, own) = (silent(family), taken(family));
    let error = |embedded: &Packet| icmp_error(router, own, [2, 0], &embedded.embedded(1200));
    let answer = answer(family, 8080, port::ESTABLISHED);
    let options = || Extension::padding(number::DESTINATION, 2);
    let other = passed(Reason::OtherProtocol);
    let found = marked(Reason::IcmpError);
    for (name, chain, expected) in [
        ("options", vec![options()], found),
        ("eight headers", vec![options(); 8], found),
        ("nine headers", vec![options(); 9], other),
        ("an atomic fragment", vec![Extension::fragment(1, 0, false)], found),
        ("a first fragment", vec![Extension::fragment(1, 0, true)], found),
        ("a later fragment", vec![Extension::fragment(1, 8, true)], other),
        ("a routing header with segments left", vec![Extension::routing(1)], other),
        ("an authentication header", vec![Extension::padding(number::AUTHENTICATION, 2)], other),
    ] {
        let packet = error(&answer.clone().extended(&chain));
        rows.add(format!("an ICMP error, {name} within"), packet, expected);
    }
    rows.add("an ICMP error behind options", error(&answer).extended(&[options()]), found);
    let fragment = error(&answer).extended(&[Extension::fragment(0x1c3f, 0, true)]);
    rows.add("an ICMP error in fragments", fragment, other);
}

/// What a socket of this host has sent to a client, and an error may speak of.
fn answer(family: Family, from: u16, to: u16) -> Packet {
    let segment = Segment::syn((taken(family), from).into(), (family.client(), to).into());
    Segment { payload: b"some data", ..segment }.with(flag::ACK).packet()
}

/// What nobody here has sent.
fn nobody(family: Family) -> Vec<u8> {
    answer(family, 8080, port::FRESH).embedded(usize::MAX)
}
