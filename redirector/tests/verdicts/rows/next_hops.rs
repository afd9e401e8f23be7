//! What the packets of a route to an interface get.

use redirector_common::Reason;

use super::{Rows, syn, syn_to_node};
use crate::{
    packet::{IP, Packet, Segment, flag},
    sockets::{port, taken},
    support::world::Family,
    table::{dropped, forwarded, marked, passed, reset, to_proxy},
};

/// More than the next hop's interface can send at once.
static LARGE: [u8; 1400] = [7; 1400];

pub fn both(rows: &mut Rows, family: Family) {
    rows.add("to an interface", syn(family, 8094).packet(), forwarded().connection("away"));
    let to_node = syn_to_node(family, 8094).packet();
    rows.add("to an interface, at the node", to_node, forwarded().connection("away"));
    rows.add("to an interface, by a router", syn(family, 8095).packet(), forwarded().connection("away-via"));
    // Every packet, not only the first.
    for flags in [flag::ACK, flag::SYN | flag::ACK, flag::FIN | flag::ACK, flag::RST, 0] {
        let name = format!("to an interface, flags {flags:#04x}");
        rows.add(&name, syn(family, 8094).with(flags).packet(), forwarded());
        rows.add(format!("{name}, at the node"), syn_to_node(family, 8094).with(flags).packet(), forwarded());
    }
    // What a socket here has, it keeps.
    let existing = Segment::syn((family.client(), port::ESTABLISHED).into(), (taken(family), 8080).into());
    let segment = existing.with(flag::ACK).packet();
    rows.add(
        "a connection to the proxy, on a port that leads elsewhere too",
        segment,
        marked(Reason::Established),
    );

    let last_hop = hops(syn(family, 8094).packet(), family, 1);
    rows.add("to an interface, with no hop left", last_hop, passed(Reason::HopLimit));
    let no_hop = hops(syn(family, 8094).packet(), family, 0);
    rows.add("to an interface, with no hop at all", no_hop, passed(Reason::HopLimit));
    let second = hops(syn(family, 8094).packet(), family, 2);
    rows.add("to an interface, with one hop left", second, forwarded().connection("away"));

    let large = Segment { payload: &LARGE, ..syn(family, 8094) };
    rows.add("too large for the interface", large.packet(), passed(Reason::TooBig).unavailable("away"));
    rows.add("too large, a segment", large.with(flag::ACK).packet(), passed(Reason::TooBig));

    let gone = passed(Reason::NoInterface);
    rows.add("an interface that is gone", syn(family, 8096).packet(), gone.unavailable("gone"));
    rows.add("an interface that is gone, a segment", syn(family, 8096).with(flag::ACK).packet(), gone);
    let gone = dropped(Reason::NoInterface);
    rows.add(
        "an interface that is gone, else drop",
        syn(family, 8097).packet(),
        gone.unavailable("gone-drop"),
    );
    rows.add("gone, else drop, a segment", syn(family, 8097).with(flag::ACK).packet(), gone);

    rows.add("a single port beside a range", syn(family, 9200).packet(), forwarded().connection("span"));
    let host = to_proxy("span-host", crate::stage::proxy::TRANSPARENT);
    rows.add("a proxy for one host in the range", syn_to_node(family, 9200).packet(), host);
    let segment = syn_to_node(family, 9200).with(flag::ACK).packet();
    rows.add("a segment to that host", segment, passed(Reason::Local));
    resets(rows, family);
}

fn resets(rows: &mut Rows, family: Family) {
    let nobody = reset(Reason::NoListener).unavailable("nobody-reset");
    rows.add("nobody listens, else reset", syn(family, 8099).packet(), nobody);
    rows.add("nobody listens, else reset, at the node", syn_to_node(family, 8099).packet(), nobody);
    let data = Segment { payload: b"hello", sequence: u32::MAX, ..syn(family, 8099) };
    rows.add("else reset, with data", data.packet(), nobody);
    rows.add("else reset, with a long tail", data.packet().edit(|frame| frame.extend([0; 40])), nobody);
    let large = Segment { payload: &LARGE, ..syn(family, 8099) };
    rows.add("else reset, in several segments", large.packet().gso(500), nobody);
    rows.add("else reset, few hops left", hops(syn(family, 8099).packet(), family, 1), nobody);
    rows.add("else reset, a segment", syn(family, 8099).with(flag::ACK).packet(), passed(Reason::NotNew));

    let gone = reset(Reason::NoInterface);
    rows.add("gone, else reset", syn(family, 8098).packet(), gone.unavailable("gone-reset"));
    for flags in [flag::ACK, flag::FIN | flag::ACK, flag::SYN | flag::ACK, flag::FIN, 0] {
        let segment = Segment { acknowledgment: 77, payload: b"abc", ..syn(family, 8098) };
        let name = format!("gone, else reset, flags {flags:#04x}");
        rows.add(name, segment.with(flags).packet(), gone);
    }
    let resets = syn(family, 8098).with(flag::RST).packet();
    rows.add("gone, else reset, but a reset", resets, dropped(Reason::NoInterface));
}

pub fn v4(rows: &mut Rows) {
    let family = Family::V4;
    let syn = |port| syn(family, port).packet();
    rows.add(
        "to an interface, with options",
        syn(8094).options(15).right_checksum(),
        forwarded().connection("away"),
    );
    let nobody = reset(Reason::NoListener).unavailable("nobody-reset");
    rows.add("else reset, with options", syn(8099).options(7).right_checksum(), nobody);
    rows.add("else reset, with all options", syn(8099).options(15).right_checksum(), nobody);
    rows.add("to a router of IPv4", syn(9300), forwarded().connection("router-v4"));
}

pub fn v6(rows: &mut Rows) {
    let syn = syn(Family::V6, 9300).packet();
    rows.add("to a router of IPv4", syn, passed(Reason::NoRoute));
}

/// The same with so many hops to live.
fn hops(packet: Packet, family: Family, hops: u8) -> Packet {
    match family {
        Family::V4 => packet.byte(IP + 8, hops).right_checksum(),
        Family::V6 => packet.byte(IP + 7, hops),
    }
}
