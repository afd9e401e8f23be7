//! Segments of connections that are there, or were, or never were.

use std::net::IpAddr;

use redirector_common::Reason;

use super::{Rows, syn, syn_to_node};
use crate::{
    packet::{Segment, flag},
    sockets::{port, silent, taken},
    stage::proxy,
    support::world::Family,
    table::{by_cookie, marked, passed, to_proxy},
};

/// Flags of segments that do not open a connection.
const LATER: &[(&str, u8)] = &[
    ("an ACK", flag::ACK),
    ("data", flag::ACK | flag::PSH),
    ("a FIN", flag::ACK | flag::FIN),
    ("a reset", flag::RST),
    ("a reset with ACK", flag::RST | flag::ACK),
    ("a SYN-ACK", flag::SYN | flag::ACK),
    ("urgent data", flag::ACK | flag::URG),
    ("no flags", 0),
];

pub fn both(rows: &mut Rows, family: Family) {
    let from = |address: IpAddr, source: u16, port: u16| {
        Segment::syn((family.client(), source).into(), (address, port).into())
    };
    let established = |port| from(taken(family), port::ESTABLISHED, port);
    for &(name, flags) in LATER {
        let packet = established(8080).with(flags).packet();
        rows.add(format!("{name} of a connection to a foreign address"), packet, marked(Reason::Established));
        let packet = from(family.node(), port::ESTABLISHED, 8080).with(flags).packet();
        rows.add(format!("{name} of a connection to the node"), packet, passed(Reason::Local));
        // The node's address is known: no socket is looked for.
        let packet = syn_to_node(family, 8080).with(flags).packet();
        rows.add(format!("{name} to the node of no connection"), packet, passed(Reason::Local));
        let packet = syn(family, 8080).with(flags).packet();
        rows.add(format!("{name} of no connection"), packet, passed(Reason::NotNew));
        // The listener that the look-up finds at this address is no connection.
        let packet = from(taken(family), port::FRESH, 8080).with(flags).packet();
        rows.add(format!("{name} of no connection, where a server listens"), packet, passed(Reason::NotNew));
    }
    rows.add("a SYN again", established(8080).packet(), marked(Reason::Established));
    let again = from(family.node(), port::ESTABLISHED, 8080).packet();
    rows.add("a SYN again, at the node", again, passed(Reason::Local));

    let segment = |port| established(port).with(flag::ACK).packet();
    rows.add(
        "of a connection by a route to a proxy that is not transparent",
        segment(8082),
        marked(Reason::Established),
    );
    rows.add(
        "of a connection by a route to a proxy that is gone",
        segment(8088),
        marked(Reason::Established),
    );
    rows.add("of a connection by a pass route", segment(8090), passed(Reason::NotNew));

    let closed = from(taken(family), port::TIME_WAIT, 8081);
    rows.add("a late segment in TIME_WAIT", closed.with(flag::ACK).packet(), marked(Reason::Established));
    // The server side closed; the client has forgotten the connection and takes its port again.
    rows.add("a SYN in TIME_WAIT", closed.packet(), to_proxy("near", proxy::TRANSPARENT));

    let half_open = Segment::syn((silent(family), port::HALF_OPEN).into(), (taken(family), 8080).into());
    rows.add("a SYN again in SYN_RECV", half_open.packet(), marked(Reason::Established));
    rows.add("the ACK in SYN_RECV", half_open.with(flag::ACK).packet(), marked(Reason::Established));
}

/// The last segment of a handshake by SYN cookie, and what differs from it.
pub fn cookie(rows: &mut Rows, ack: Segment) {
    let not_new = passed(Reason::NotNew);
    let steered = by_cookie("web", proxy::TRANSPARENT);
    rows.add("the ACK of a cookie", ack.packet(), steered);
    rows.add("the ACK of a cookie, again", ack.packet(), steered);
    let data = Segment { payload: b"GET / HTTP/1.1", ..ack }.with(flag::ACK | flag::PSH);
    rows.add("the ACK of a cookie, with data", data.packet(), steered);
    for (name, flags) in [
        ("a reset", flag::RST),
        ("a reset with ACK", flag::RST | flag::ACK),
        ("a SYN-ACK", flag::SYN | flag::ACK),
        ("no flags", 0),
        ("a FIN without ACK", flag::FIN),
    ] {
        rows.add(format!("{name} with the cookie"), ack.with(flags).packet(), not_new);
    }
    let forged = Segment { acknowledgment: ack.acknowledgment ^ 0x0001_0000, ..ack };
    rows.add("the ACK of no cookie", forged.packet(), not_new);
    let other = |segment: Segment| segment.packet();
    let mut source = ack.source;
    source.set_port(port::FRESH);
    rows.add("the cookie of another client", other(Segment { source, ..ack }), not_new);
    for (name, port) in [("without a route", 7), ("by a pass route", 8090), ("by a drop route", 8091)] {
        let mut destination = ack.destination;
        destination.set_port(port);
        let expected = if port == 7 { passed(Reason::NoRoute) } else { not_new };
        rows.add(format!("the cookie {name}"), other(Segment { destination, ..ack }), expected);
    }
}
