//! From the Ethernet type to the TCP header.

use redirector_common::Reason;

use super::{Rows, syn};
use crate::{
    packet::{IP, Packet},
    shapes::number::{self, ICMP, TCP, UDP},
    stage::proxy,
    support::world::Family,
    table::{passed, to_proxy},
};

pub fn both(rows: &mut Rows, family: Family) {
    let overheard = syn(family, 8080).packet().bytes(0, &[2, 0, 0, 0, 0, 9]);
    rows.add("a frame for another host", overheard, passed(Reason::OtherHost));
    let valid = || syn(family, 8080).packet();
    let tcp = valid().transport();
    let steered = to_proxy("web", proxy::TRANSPARENT);

    for (name, ether_type) in
        [("ARP", 0x0806), ("an unknown type", 0x88b5), ("a length instead of a type", 46)]
    {
        rows.add(name, valid().ether_type(ether_type), passed(Reason::NotIp));
    }
    for (name, ether_type) in [("802.1Q", 0x8100), ("802.1ad", 0x88a8)] {
        let [high, low] = u16::to_be_bytes(ether_type);
        // The tag: its type, then the VLAN's number, in front of the packet's own type.
        let tagged = valid().insert(12, &[high, low, 0, 5]);
        rows.add(format!("{name} tag in the header"), tagged, passed(Reason::Vlan));
    }
    let other_version = match family {
        Family::V4 => 0x65,
        Family::V6 => 0x40,
    };
    rows.add("another version", valid().byte(IP, other_version), passed(Reason::Malformed));

    let length = valid().true_length();
    let short = valid().frame.len() - 1;
    rows.add("the last byte is missing", valid().cut(short), passed(Reason::Truncated));
    let more = valid().stated_length(length + 1);
    rows.add("a length of more than the packet", more, passed(Reason::Truncated));
    let less = valid().stated_length(length - 1);
    rows.add("a length of less than the headers", less, passed(Reason::Truncated));
    rows.add("a length of 65535", valid().stated_length(65535), passed(Reason::Truncated));
    rows.add("a length of 0", valid().stated_length(0), passed(Reason::Malformed));
    rows.add("a length of 0 in a GSO packet", valid().stated_length(0).gso(1400), steered);
    rows.add("a GSO packet", payload(valid(), 2000).gso(1400), steered);
    rows.add("padding behind the packet", valid().edit(|frame| frame.extend([0xff; 6])), steered);
    rows.add("a payload in the SYN", payload(valid(), 100), steered);

    for words in 0..5 {
        let name = format!("a TCP header of {words} words");
        rows.add(name, valid().byte(tcp + 12, words << 4), passed(Reason::Malformed));
    }
    for words in [5, 6, 15] {
        let packet = payload(valid(), 40).byte(tcp + 12, words << 4);
        rows.add(format!("a TCP header of {words} words"), packet, steered);
    }
    rows.add("other bits beside the flags", valid().byte(tcp + 12, 0x5f), steered);
}

pub fn v4(rows: &mut Rows) {
    let valid = || syn(Family::V4, 8080).packet();
    let steered = to_proxy("web", proxy::TRANSPARENT);

    for words in 0..5 {
        let name = format!("an IP header of {words} words");
        rows.add(name, valid().byte(IP, 0x40 | words), passed(Reason::Malformed));
    }
    for words in 5..=15 {
        let packet = || valid().options(words);
        let header = usize::from(words) * 4;
        rows.add(format!("an IP header of {words} words"), packet(), steered);
        let within = packet().stated_length(header - 1);
        rows.add(format!("{words} words, the length ends in them"), within, passed(Reason::Malformed));
        let behind = packet().stated_length(header + 19);
        rows.add(format!("{words} words, the length ends in TCP"), behind, passed(Reason::Truncated));
        let short = packet().frame.len() - 1;
        rows.add(
            format!("{words} words, the packet ends in TCP"),
            packet().cut(short),
            passed(Reason::Truncated),
        );
    }
    rows.add("a header longer than the packet", valid().byte(IP, 0x4f), passed(Reason::Malformed));

    const OFFSET: usize = IP + 6;
    rows.add("don't fragment", valid().bytes(OFFSET, &[0x40, 0]), steered);
    rows.add("the reserved flag", valid().bytes(OFFSET, &[0x80, 0]), steered);
    for protocol in (0..=255).filter(|protocol| ![TCP, UDP].contains(protocol)) {
        let packet = valid().byte(IP + 9, protocol);
        rows.add(format!("protocol {protocol}"), packet, passed(Reason::OtherProtocol));
    }
    let packet = valid().byte(IP + 9, ICMP).bytes(OFFSET, &[0x20, 0]);
    rows.add("a fragment of ICMP", packet, passed(Reason::OtherProtocol));
    rows.add(
        "IPv6 behind the type of IPv4",
        syn(Family::V6, 8080).packet().ether_type(0x0800),
        passed(Reason::Malformed),
    );
}

pub fn v6(rows: &mut Rows) {
    let valid = || syn(Family::V6, 8080).packet();
    const NEXT: usize = IP + 6;
    for next in (0..=255).filter(|next| ![TCP, UDP].contains(next)) {
        // What is behind is TCP, which these take for their own.
        let reason = match next {
            number::FRAGMENT => Reason::Fragment,
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION => Reason::Truncated,
            number::AUTHENTICATION | number::MOBILITY | number::HOST_IDENTITY | number::SHIM6 => {
                Reason::ExtensionHeader
            }
            _ => Reason::OtherProtocol,
        };
        rows.add(format!("next header {next}"), valid().byte(NEXT, next), passed(reason));
    }
    let flow = valid().bytes(IP, &[0x6f, 0xff, 0xff, 0xff]);
    rows.add("a traffic class and a flow label", flow, to_proxy("web", proxy::TRANSPARENT));
    rows.add(
        "IPv4 behind the type of IPv6",
        syn(Family::V4, 8080).packet().ether_type(0x86dd),
        passed(Reason::Malformed),
    );
}

/// The packet with a payload.
fn payload(packet: Packet, length: usize) -> Packet {
    let packet = packet.edit(|frame| frame.extend(vec![b'x'; length]));
    let length = packet.true_length();
    packet.stated_length(length)
}
