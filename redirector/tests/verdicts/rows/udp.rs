//! What datagrams get of routes, by the sockets that are there.

use redirector_common::Reason;

use super::{Rows, datagram};
use crate::{
    packet::{IP, Packet, Segment},
    sockets::{port, silent, taken},
    stage::proxy,
    support::world::Family,
    table::{dropped, forwarded, marked, passed, reset, to_proxy},
};

/// More than the next hop's interface can send at once.
static LARGE: [u8; 1400] = [7; 1400];

pub fn both(rows: &mut Rows, family: Family) {
    let to = |port| Segment { payload: b"a question", ..datagram(family, port) };
    let at_node = |port| Segment { destination: (family.node(), port).into(), ..to(port) };
    let dns = to_proxy("dns", proxy::UDP);

    rows.add("a datagram, steered", to(8380).packet(), dns);
    rows.add("a datagram, steered at the node", at_node(8380).packet(), dns);
    rows.add("a datagram, steered again, now that the socket is stored", to(8380).packet(), dns);
    rows.add("a datagram of no bytes, steered", datagram(family, 8380).packet(), dns);
    rows.add(
        "many datagrams in one, steered",
        Segment { payload: &LARGE, ..to(8380) }.packet().gso(500),
        dns,
    );
    let drop = to_proxy("dns-drop", proxy::UDP);
    rows.add("a datagram, steered, else drop", to(8393).packet(), drop);
    let near = to_proxy("dns-near", proxy::UDP);
    rows.add("a datagram, steered by destination and source", to(8381).packet(), near);
    let afar = Segment { source: (silent(family), port::FRESH).into(), ..to(8381) };
    rows.add("a datagram, steered from elsewhere only", afar.packet(), passed(Reason::NoRoute));
    // A proxy of both protocols is two.
    rows.add("a datagram to a proxy of TCP too", to(8382).packet(), to_proxy("dns-both", proxy::TRANSPARENT));
    let plain = to_proxy("dns-plain", proxy::UDP_PLAIN);
    rows.add("a datagram to a socket that is not transparent", to(8383).packet(), plain);
    rows.add("a datagram to a socket that is not transparent, at the node", at_node(8383).packet(), plain);

    for (reason, port, route, drop_route) in [
        (Reason::DeviceBound, 8386, "dns-device", "dns-device-drop"),
        (Reason::NoListener, 8388, "dns-nobody", "dns-nobody-drop"),
    ] {
        for (place, to) in [("", &to as &dyn Fn(u16) -> Segment), (", at the node", &at_node)] {
            let name = format!("a datagram, {}{place}", reason.word());
            rows.add(&name, to(port).packet(), passed(reason).unavailable(route));
            let dropped = dropped(reason).unavailable(drop_route);
            rows.add(format!("{name}, else drop"), to(port + 1).packet(), dropped);
        }
    }
    rows.add("a datagram to the proxy's own port", to(proxy::UDP).packet(), passed(Reason::ProxyPort));
    for address in special(family) {
        let special = passed(Reason::SpecialAddress);
        let there = Segment { destination: (address, 8380).into(), ..to(8380) };
        rows.add(format!("a datagram to {address}"), there.packet(), special);
        let from = Segment { source: (address, port::FRESH).into(), ..to(8380) };
        rows.add(format!("a datagram from {address}"), from.packet(), special);
        let refused = Segment { source: (address, port::FRESH).into(), ..to(8399) };
        rows.add(format!("a datagram from {address}, else reset"), refused.packet(), special);
    }
    connected(rows, family);
    next_hops(rows, family);
    refusals(rows, family);
}

fn special(family: Family) -> Vec<std::net::IpAddr> {
    let addresses: &[&str] = match family {
        Family::V4 => &["127.0.0.1", "169.254.1.1", "224.0.0.251", "255.255.255.255", "0.0.0.0"],
        Family::V6 => &["::1", "::", "fe80::1", "ff02::fb", "::ffff:192.0.2.1"],
    };
    addresses.iter().map(|address| address.parse().expect("the table has addresses")).collect()
}

/// What sockets of this host have.
fn connected(rows: &mut Rows, family: Family) {
    let from = |source: u16, address: std::net::IpAddr| {
        Segment::datagram((family.client(), source).into(), (address, 8380).into())
    };
    let dns = to_proxy("dns", proxy::UDP);
    let held = from(port::ESTABLISHED, taken(family)).packet();
    rows.add("a datagram of a connected socket", held, marked(Reason::Established));
    let held = from(port::ESTABLISHED, family.node()).packet();
    rows.add("a datagram of a connected socket, at the node", held, passed(Reason::Local));
    // One that is not connected takes what no route leads elsewhere.
    rows.add(
        "a datagram of nobody, beside a connected socket",
        from(port::FRESH, taken(family)).packet(),
        dns,
    );
    rows.add("a datagram where an unconnected socket is", from(port::FRESH, family.node()).packet(), dns);
    let held =
        Segment { destination: (taken(family), 8388).into(), ..from(port::ESTABLISHED, taken(family)) };
    rows.add(
        "a datagram of a connected socket whose proxy is gone",
        held.packet(),
        marked(Reason::Established),
    );
}

fn next_hops(rows: &mut Rows, family: Family) {
    let to = |port| Segment { payload: b"a question", ..datagram(family, port) };
    let away = forwarded().connection("udp-away");
    rows.add("a datagram with one hop left, to an interface", hops(to(8194).packet(), family, 2), away);
    let last = hops(to(8194).packet(), family, 1);
    rows.add("a datagram with no hop left, to an interface", last, passed(Reason::HopLimit));
    let large = Segment { payload: &LARGE, ..to(8194) };
    let too_big = passed(Reason::TooBig).unavailable("udp-away");
    rows.add("a datagram too large for an interface", large.packet(), too_big);
    for (port, route, expected) in [
        (8396, "dns-gone", passed(Reason::NoInterface)),
        (8397, "dns-gone-drop", dropped(Reason::NoInterface)),
        (8398, "dns-gone-reset", reset(Reason::NoInterface)),
    ] {
        rows.add(format!("a datagram, {route}"), to(port).packet(), expected.unavailable(route));
    }
}

/// Each is compared with an answer that is made without the program.
fn refusals(rows: &mut Rows, family: Family) {
    let nobody = reset(Reason::NoListener).unavailable("dns-nobody-reset");
    let to = |payload| Segment { payload, ..datagram(family, 8399) };
    for length in 0..=40 {
        let datagram = to(&LARGE[..length]).packet();
        rows.add(format!("a datagram of {length} bytes, else reset"), datagram, nobody);
    }
    rows.add("a large datagram, else reset", to(&LARGE).packet(), nobody);
    rows.add("many datagrams in one, else reset", to(&LARGE).packet().gso(500), nobody);
    let at_node = Segment { destination: (family.node(), 8399).into(), ..to(b"hello") };
    rows.add("a datagram, else reset, at the node", at_node.packet(), nobody);
    let few = hops(to(b"hello").packet(), family, 1);
    rows.add("a datagram, few hops left, else reset", few, nobody);
    // Sums of all kinds: the checksum of what is sent back depends on the ports.
    for source in (1..=65535).step_by(1021) {
        let segment = Segment { source: (family.client(), source).into(), ..to(b"hello") };
        rows.add(format!("a datagram from port {source}, else reset"), segment.packet(), nobody);
    }
    // Of these the three words before the checksum make 65535: a checksum of 0.
    let source = 0xffff - 8399 - 8;
    let segment = Segment { source: (family.client(), source).into(), ..to(b"") };
    rows.add("a datagram whose words make 65535, else reset", segment.packet(), nobody);
    let tail = to(b"hello").packet().edit(|frame| frame.extend([0; 40]));
    rows.add("a datagram with a long tail, else reset", tail, nobody);
    let without = to(b"hello").packet();
    let check = without.transport() + 6;
    rows.add("a datagram without a checksum, else reset", without.bytes(check, &[0, 0]), nobody);
    if family == Family::V4 {
        for words in 6..=15 {
            let packet = to(b"hello").packet().options(words).right_checksum();
            rows.add(format!("a datagram behind {words} words of IP, else reset"), packet, nobody);
        }
    }
}

/// The families of a proxy.
pub fn v4(rows: &mut Rows) {
    let expected = to_proxy("dns-v4", proxy::UDP_V4_ONLY);
    rows.add("a datagram by a route to a proxy of IPv4", datagram(Family::V4, 8392).packet(), expected);
}

pub fn v6(rows: &mut Rows) {
    let packet = datagram(Family::V6, 8392).packet();
    rows.add("a datagram by a route to a proxy of IPv4", packet, passed(Reason::NoRoute));
}

/// Without `sk_lookup` nothing would take what is steered.
pub fn detached(rows: &mut Rows, family: Family) {
    let detached = passed(Reason::Detached).unavailable("dns");
    rows.add("a datagram, detached", datagram(family, 8380).packet(), detached);
    let node = Segment { destination: (family.node(), 8380).into(), ..datagram(family, 8380) };
    rows.add("a datagram, detached, at the node", node.packet(), detached);
    let drop = dropped(Reason::Detached).unavailable("dns-drop");
    rows.add("a datagram, detached, else drop", datagram(family, 8393).packet(), drop);
    let refused = reset(Reason::Detached).unavailable("dns-nobody-reset");
    rows.add("a datagram, detached, else reset", datagram(family, 8399).packet(), refused);
    // What was connected before goes on.
    let held = Segment::datagram((family.client(), port::ESTABLISHED).into(), (taken(family), 8380).into());
    rows.add("a datagram of a connected socket, detached", held.packet(), marked(Reason::Established));
}

/// The same with so many hops to live.
fn hops(packet: Packet, family: Family, hops: u8) -> Packet {
    match family {
        Family::V4 => packet.byte(IP + 8, hops).right_checksum(),
        Family::V6 => packet.byte(IP + 7, hops),
    }
}
