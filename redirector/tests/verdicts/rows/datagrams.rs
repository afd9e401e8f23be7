//! UDP: its header, and that each datagram is decided by itself.

use redirector_common::Reason;

use super::{Rows, datagram};
use crate::{
    packet::{Packet, Segment},
    sockets::{port, silent},
    support::world::Family,
    table::{dropped, forwarded, passed},
};

const PAYLOAD: &[u8] = b"a question";

pub fn both(rows: &mut Rows, family: Family) {
    let refuse = dropped(Reason::DropRoute).connection("udp-refuse");
    let to = |port| Segment { payload: PAYLOAD, ..datagram(family, port) };
    rows.add("a datagram to a port that no route names", to(7).packet(), passed(Reason::NoRoute));
    // Each protocol has ports of its own.
    rows.add("a datagram to a port that a route of TCP names", to(8091).packet(), passed(Reason::NoRoute));
    rows.add("a datagram, dropped", to(8191).packet(), refuse);
    let leave = passed(Reason::PassRoute).connection("udp-leave");
    rows.add("a datagram, passed", to(8190).packet(), leave);
    rows.add("a datagram to an interface", to(8194).packet(), forwarded().connection("udp-away"));
    let near = dropped(Reason::DropRoute).connection("udp-near");
    rows.add("a datagram by prefix and source", to(8192).packet(), near);
    let source = (silent(family), port::FRESH).into();
    let afar = Segment { source, ..to(8192) };
    rows.add("a datagram of a source that no route names", afar.packet(), passed(Reason::NoRoute));
    let at_the_node = Segment { destination: (family.node(), 8191).into(), ..to(8191) };
    rows.add("a datagram at the node", at_the_node.packet(), refuse);

    let valid = || to(8191).packet();
    let room = 8 + PAYLOAD.len();
    for length in 0..=room + 1 {
        let expected = match length {
            0..8 => passed(Reason::Malformed),
            length if length <= room => refuse,
            _ => passed(Reason::Truncated),
        };
        rows.add(format!("a datagram that says {length} bytes"), says(valid(), length), expected);
        // As many of these are in it as the device is told to make.
        let many = says(valid(), length).gso(4);
        rows.add(format!("datagrams in one that say {length} bytes"), many, refuse);
    }
    rows.add("a datagram that says 65535 bytes", says(valid(), 65535), passed(Reason::Truncated));
    rows.add("a datagram of no bytes", datagram(family, 8191).packet(), refuse);
    let padded = valid().edit(|frame| frame.extend([0xff; 6]));
    rows.add("padding behind a datagram", padded, refuse);
    let wrong = valid().bytes(valid().transport() + 6, &[0xde, 0xad]);
    rows.add("a datagram with a wrong checksum", wrong, refuse);
    let within = valid().stated_length(stated(family, 7));
    rows.add("an IP length that ends in the header of a datagram", within, passed(Reason::Truncated));
    let header = says(valid(), 8).stated_length(stated(family, 8));
    rows.add("an IP length that ends behind the header of a datagram", header, refuse);
    let beyond = says(valid(), 9).stated_length(stated(family, 8));
    rows.add("a datagram longer than IP says", beyond, passed(Reason::Truncated));
    rows.add("a datagram whose IP length is 0", valid().stated_length(0), passed(Reason::Malformed));
    rows.add("datagrams in one whose IP length is 0", valid().stated_length(0).gso(4), refuse);
    for length in valid().transport()..valid().frame.len() {
        let name = format!("a datagram of which {length} bytes are left");
        rows.add(name, valid().cut(length), passed(Reason::Truncated));
    }
    if family == Family::V4 {
        for words in 5..=15 {
            let packet = valid().options(words);
            rows.add(format!("a datagram behind an IP header of {words} words"), packet, refuse);
        }
    }
}

/// What the IP header says of its length where so many bytes are left to the transport.
fn stated(family: Family, room: usize) -> usize {
    if family == Family::V4 { 20 + room } else { room }
}

/// The same datagram with another length in its own header.
fn says(packet: Packet, length: usize) -> Packet {
    let length = u16::try_from(length).expect("the field has 16 bits");
    let at = packet.transport() + 4;
    packet.bytes(at, &length.to_be_bytes())
}
