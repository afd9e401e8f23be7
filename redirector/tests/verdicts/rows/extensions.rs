//! IPv6 extension headers: what they lead to, and what they do not.

use redirector_common::{Reason, entries::HandoffState};

use super::{Rows, datagram, syn};
use crate::{
    packet::{IP, Segment, flag},
    shapes::{Extension, number},
    sockets::{port, taken},
    stage::proxy,
    support::world::Family,
    table::{Expected, dropped, forwarded, marked, passed, to_proxy},
};

const V6: Family = Family::V6;
const EXTENSION: Reason = Reason::ExtensionHeader;

pub fn v6(rows: &mut Rows) {
    let web = to_proxy("web", proxy::TRANSPARENT);
    let dns = to_proxy("dns", proxy::UDP);
    let mut both = |name: &str, chain: &[Extension], expected: Option<Reason>| {
        let [tcp, udp] = [syn(V6, 8080), datagram(V6, 8380)].map(|segment| segment.packet().extended(chain));
        let or = |steered: Expected| expected.map_or(steered, passed);
        rows.add(format!("TCP behind {name}"), tcp, or(web));
        rows.add(format!("UDP behind {name}"), udp, or(dns));
    };
    let hop = || Extension::padding(number::HOP_BY_HOP, 1);
    let options = |units| Extension::padding(number::DESTINATION, units);
    let routing = Extension::routing;
    let fragment = |identification| Extension::fragment(identification, 0, false);

    both("hop-by-hop options", &[hop()], None);
    both("destination options", &[options(1)], None);
    both("a routing header that is through", &[routing(0)], None);
    both("a routing header that is not", &[routing(1)], Some(EXTENSION));
    both("a routing header that is far from it", &[routing(255)], Some(EXTENSION));
    both("an atomic fragment header", &[fragment(1)], None);
    both("each that is walked", &[hop(), options(1), routing(0), fragment(2), options(2)], None);
    both("an atomic fragment header in the middle", &[options(1), fragment(3), routing(0)], None);
    both("two fragment headers", &[fragment(4), fragment(5)], Some(Reason::Malformed));
    let apart = [fragment(6), options(1), Extension::fragment(6, 8, true)];
    both("two fragment headers, apart", &apart, Some(Reason::Malformed));
    both("hop-by-hop options twice", &[hop(), hop()], Some(Reason::Malformed));
    both("hop-by-hop options too late", &[options(1), hop()], Some(Reason::Malformed));
    for headers in 1..=10 {
        let chain = vec![options(1); headers];
        both(&format!("{headers} headers"), &chain, (headers > 8).then_some(EXTENSION));
        let chain = [vec![hop()], vec![fragment(7)], vec![routing(0); headers]].concat();
        let name = format!("{headers} headers behind two others");
        both(&name, &chain, (headers > 6).then_some(EXTENSION));
    }
    for (units, reason) in [(2, None), (100, None), (128, None), (129, Some(EXTENSION))] {
        both(&format!("a header of {units} units"), &[options(units)], reason);
    }
    let all = vec![options(16); 8];
    both("1024 bytes of headers", &all, None);
    let more = [vec![options(17)], vec![options(16); 7]].concat();
    both("1032 bytes of headers", &more, Some(EXTENSION));
    for (name, number) in [
        ("an authentication header", number::AUTHENTICATION),
        ("a mobility header", number::MOBILITY),
        ("a host identity", number::HOST_IDENTITY),
        ("shim6", number::SHIM6),
    ] {
        both(name, &[Extension::padding(number, 2)], Some(EXTENSION));
        both(
            &format!("{name} behind options"),
            &[options(1), Extension::padding(number, 2)],
            Some(EXTENSION),
        );
    }
    for (name, number) in [
        ("an encrypted payload", number::ENCRYPTED),
        ("no next header", number::NONE),
        ("SCTP", 132),
        ("253", 253),
    ] {
        let chain = [options(1), Extension::padding(number, 1)];
        both(&format!("options and {name}"), &chain, Some(Reason::OtherProtocol));
    }
    lengths(rows);
    routes(rows);
}

/// Headers that say more than there is.
fn lengths(rows: &mut Rows) {
    let packet = || syn(V6, 8080).packet().extended(&[Extension::padding(number::DESTINATION, 2)]);
    let truncated = passed(Reason::Truncated);
    // Its end is beyond the packet's, or within the TCP header.
    for units in [3, 4, 5, 6, 255] {
        rows.add(format!("a header that says {units} units"), packet().byte(IP + 41, units), truncated);
    }
    for stated in [1, 7, 8, 15, 16, 20, 35] {
        let name = format!("an IP length of {stated} with a header of 16");
        rows.add(name, packet().stated_length(stated), truncated);
    }
    rows.add("an extension header, the length is beyond the packet", packet().stated_length(37), truncated);
    rows.add("an extension header, the length is 0", packet().stated_length(0), passed(Reason::Malformed));
    let web = to_proxy("web", proxy::TRANSPARENT);
    rows.add("an extension header in a GSO packet of length 0", packet().stated_length(0).gso(1400), web);
    let jumbo = Extension(number::HOP_BY_HOP, vec![0, 0, 0xc2, 4, 0, 1, 0, 0]);
    let jumbo = syn(V6, 8080).packet().extended(&[jumbo]).stated_length(0);
    rows.add("a jumbogram", jumbo, passed(Reason::Malformed));
    rows.add(
        "padding behind a packet with an extension header",
        packet().edit(|frame| frame.extend([0xff; 9])),
        web,
    );
    let doff = packet().byte(IP + 40 + 16 + 12, 4 << 4);
    rows.add("a TCP header of 4 words behind options", doff, passed(Reason::Malformed));
    let says = |length: u16| {
        let chain = [Extension::padding(number::DESTINATION, 1)];
        let packet = datagram(V6, 8380).packet().extended(&chain);
        packet.bytes(IP + 40 + 8 + 4, &length.to_be_bytes())
    };
    for (length, expected) in [
        (0, passed(Reason::Malformed)),
        (7, passed(Reason::Malformed)),
        (8, to_proxy("dns", proxy::UDP)),
        (9, truncated),
    ] {
        rows.add(format!("a datagram behind options that says {length} bytes"), says(length), expected);
    }
}

/// What a packet with extension headers gets is what one without them gets.
fn routes(rows: &mut Rows) {
    let chain = [Extension::padding(number::DESTINATION, 1), Extension::padding(number::DESTINATION, 2)];
    let mut add = |name: &str, segment: Segment, expected: Expected| {
        rows.add(format!("{name}, behind options"), segment.packet().extended(&chain), expected);
    };
    let to_node = |port| Segment { destination: (V6.node(), port).into(), ..syn(V6, port) };
    let held = Segment {
        source: (V6.client(), port::ESTABLISHED).into(),
        destination: (taken(V6), 8080).into(),
        ..syn(V6, 8080)
    };
    add("no route", syn(V6, 7), passed(Reason::NoRoute));
    add("to the node", to_node(8080), to_proxy("web", proxy::TRANSPARENT));
    add("a segment to the node", to_node(8080).with(flag::ACK), passed(Reason::Local));
    add("a segment of no connection", syn(V6, 8080).with(flag::ACK), passed(Reason::NotNew));
    add("a segment of a connection", held.with(flag::ACK), marked(Reason::Established));
    add("a drop route", syn(V6, 8091), dropped(Reason::DropRoute).connection("refuse"));
    add("a drop route of UDP", datagram(V6, 8191), dropped(Reason::DropRoute).connection("udp-refuse"));
    add("a pass route", syn(V6, 8090), passed(Reason::PassRoute).connection("leave"));
    add("a route to an interface", syn(V6, 8094), forwarded().connection("away"));
    add("nobody listens", syn(V6, 8088), passed(Reason::NoListener).unavailable("nobody"));
    let special = Segment {
        source: ("fe80::1".parse::<std::net::IpAddr>().expect("an address"), 1).into(),
        ..syn(V6, 8080)
    };
    add("a special address", special, passed(Reason::SpecialAddress));
    let overheard = syn(V6, 8080).packet().extended(&chain).bytes(0, &[2, 0, 0, 0, 0, 9]);
    rows.add("a frame for another host, with options", overheard, passed(Reason::OtherHost));
}

/// The last step of a handshake by SYN cookie, with extension headers.
pub fn cookie(rows: &mut Rows, ack: Segment) {
    let chain = vec![Extension::padding(number::DESTINATION, 4); 8];
    let expected = Expected {
        handoff: Some((HandoffState::SynCookie, "web", proxy::TRANSPARENT)),
        ..marked(Reason::SynCookie)
    };
    rows.add("the ACK of a cookie, behind options", ack.packet().extended(&chain), expected);
}
