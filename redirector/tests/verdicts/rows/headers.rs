//! From the Ethernet type to the TCP header.

use redirector_common::Reason;

use super::{Rows, syn};
use crate::{
    packet::{IP, Packet},
    stage::proxy,
    support::world::Family,
    table::{passed, to_proxy},
};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// IPv6's fragment header (IANA, "Assigned Internet Protocol Numbers").
const FRAGMENT: u8 = 44;
/// Extension headers by which TCP may follow: hop-by-hop, routing, authentication, destination options.
const EXTENSIONS: [u8; 4] = [0, 43, 51, 60];

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
    rows.add("the first fragment", valid().bytes(OFFSET, &[0x20, 0]), passed(Reason::Fragment));
    rows.add("a fragment in the middle", valid().bytes(OFFSET, &[0x20, 185]), passed(Reason::Fragment));
    for (name, offset) in
        [("the second", [0, 1]), ("some", [0, 185]), ("some other", [1, 0]), ("the last", [0x1f, 0xff])]
    {
        // What looks like a TCP header here is payload.
        rows.add(format!("{name} later fragment"), valid().bytes(OFFSET, &offset), passed(Reason::Fragment));
    }
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
        let reason = match next {
            FRAGMENT => Reason::Fragment,
            next if EXTENSIONS.contains(&next) => Reason::ExtensionHeader,
            _ => Reason::OtherProtocol,
        };
        rows.add(format!("next header {next}"), valid().byte(NEXT, next), passed(reason));
    }
    for next in EXTENSIONS {
        let packet = extended(valid(), next, [TCP, 0, 0, 0, 0, 0, 0, 0]);
        rows.add(format!("TCP behind extension header {next}"), packet, passed(Reason::ExtensionHeader));
    }
    for (name, offset) in
        [("the first fragment", [0, 1]), ("a later fragment", [0, 8]), ("an atomic fragment", [0, 0])]
    {
        let packet = extended(valid(), FRAGMENT, [TCP, 0, offset[0], offset[1], 0, 0, 0, 1]);
        rows.add(name, packet, passed(Reason::Fragment));
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

/// An IPv6 packet with an extension header.
fn extended(packet: Packet, next: u8, header: [u8; 8]) -> Packet {
    let packet = packet.byte(IP + 6, next).insert(IP + 40, &header);
    let length = packet.true_length();
    packet.stated_length(length)
}
