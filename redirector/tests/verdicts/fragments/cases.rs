//! What the first fragment of a packet gets, and what the others get by it.

use redirector_common::Reason;

use crate::{
    packet::{Segment, flag},
    sockets::{port, taken},
    stage::proxy,
    support::world::Family,
    table::{Expected, dropped, forwarded, marked, passed, reset, to_proxy},
};

/// What a packet's fragments get: the first by its route, the others by the first.
pub struct Case {
    pub name: &'static str,
    pub segment: Segment,
    pub first: Expected,
    pub later: Expected,
}

/// One of each kind of route, and of what no route is asked about.
pub fn cases(family: Family) -> Vec<Case> {
    let tcp = |port| syn(family, port);
    let udp = |port| datagram(family, port);
    let steered = marked(Reason::Fragment);
    let gone = passed(Reason::Fragment);
    let refused = dropped(Reason::Fragment);
    let sent_on = Expected { reason: Reason::Fragment, ..forwarded() };
    let held = |segment: Segment, port| Segment {
        source: (family.client(), port::ESTABLISHED).into(),
        destination: (taken(family), port).into(),
        ..segment
    };
    let case = |name, segment, first, later| Case { name, segment, first, later };
    vec![
        case("TCP, steered", tcp(8080), to_proxy("web", proxy::TRANSPARENT), steered),
        case("UDP, steered", udp(8380), to_proxy("dns", proxy::UDP), steered),
        case("TCP, dropped", tcp(8091), dropped(Reason::DropRoute).connection("refuse"), refused),
        case("UDP, dropped", udp(8191), dropped(Reason::DropRoute).connection("udp-refuse"), refused),
        case("TCP, a pass route", tcp(8090), passed(Reason::PassRoute).connection("leave"), gone),
        case("UDP, a pass route", udp(8190), passed(Reason::PassRoute).connection("udp-leave"), gone),
        case("TCP, to an interface", tcp(8094), forwarded().connection("away"), sent_on),
        case("UDP, to an interface", udp(8194), forwarded().connection("udp-away"), sent_on),
        case("TCP, no route", tcp(7), passed(Reason::NoRoute), gone),
        case("UDP, no route", udp(7), passed(Reason::NoRoute), gone),
        case("TCP, nobody", tcp(8088), passed(Reason::NoListener).unavailable("nobody"), gone),
        case("TCP, nobody, drop", tcp(8089), dropped(Reason::NoListener).unavailable("nobody-drop"), refused),
        case("TCP, nobody, reset", tcp(8099), reset(Reason::NoListener).unavailable("nobody-reset"), refused),
        case(
            "UDP, nobody, reset",
            udp(8399),
            reset(Reason::NoListener).unavailable("dns-nobody-reset"),
            refused,
        ),
        case(
            "TCP, of a connection",
            held(tcp(8080), 8080).with(flag::ACK),
            marked(Reason::Established),
            steered,
        ),
        case("UDP, of a connected socket", held(udp(8380), 8380), marked(Reason::Established), steered),
        case("TCP, of no connection", tcp(8080).with(flag::ACK), passed(Reason::NotNew), gone),
        case("TCP, to an interface, no SYN", tcp(8094).with(flag::ACK), forwarded(), sent_on),
    ]
}

/// What a first fragment of this gets, if a proxy takes it.
pub fn by_route(segment: Segment) -> Expected {
    if segment.destination.port() == 8080 {
        to_proxy("web", proxy::TRANSPARENT)
    } else {
        to_proxy("dns", proxy::UDP)
    }
}

/// The beginning of a connection to an address of nobody.
pub fn syn(family: Family, port: u16) -> Segment {
    Segment::syn((family.client(), port::FRESH).into(), (family.service(), port).into())
}

/// A datagram to it.
pub fn datagram(family: Family, port: u16) -> Segment {
    Segment::datagram((family.client(), port::FRESH).into(), (family.service(), port).into())
}
