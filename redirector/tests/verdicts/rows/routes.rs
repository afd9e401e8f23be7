//! Which route a new connection has, and what it says.

use std::net::SocketAddr;

use redirector_common::Reason;

use super::{Rows, syn, syn_to_node};
use crate::{
    packet::{Segment, flag},
    sockets::{port, silent, taken},
    stage::proxy,
    support::world::Family,
    table::{dropped, passed, to_proxy},
};

pub fn both(rows: &mut Rows, family: Family) {
    let no_route = passed(Reason::NoRoute);
    let client = SocketAddr::new(family.client(), port::FRESH);

    rows.add("a port that no route names", syn(family, 7).packet(), no_route);
    rows.add("port 0", syn(family, 0).packet(), no_route);
    rows.add("port 65535", syn(family, 65535).packet(), no_route);
    rows.add("a segment to a port that no route names", syn(family, 7).with(flag::ACK).packet(), no_route);
    let answer = Segment::syn((family.client(), 8080).into(), (family.service(), 7).into());
    rows.add("a routed port as the source", answer.packet(), no_route);

    let near = to_proxy("near", proxy::TRANSPARENT);
    rows.add("a destination and a source that a route names", syn(family, 8081).packet(), near);
    rows.add("a destination that no route names", syn_to_node(family, 8081).packet(), no_route);
    let from_afar = Segment::syn((silent(family), port::FRESH).into(), (family.service(), 8081).into());
    rows.add("a source that no route names", from_afar.packet(), no_route);

    rows.add("a pass route", syn(family, 8090).packet(), passed(Reason::PassRoute).connection("leave"));
    let to_node = syn_to_node(family, 8090).packet();
    rows.add("a pass route, at the node", to_node, passed(Reason::PassRoute).connection("leave"));
    rows.add("a drop route", syn(family, 8091).packet(), dropped(Reason::DropRoute).connection("refuse"));
    let to_node = syn_to_node(family, 8091).packet();
    rows.add("a drop route, at the node", to_node, dropped(Reason::DropRoute).connection("refuse"));
    // What was decided at its SYN stays so.
    rows.add("a segment to a drop route", syn(family, 8091).with(flag::ACK).packet(), passed(Reason::NotNew));
    rows.add("a segment to a pass route", syn(family, 8090).with(flag::ACK).packet(), passed(Reason::NotNew));

    let elsewhere = |port| Segment::syn(client, (taken(family), port).into()).packet();
    let range = dropped(Reason::DropRoute).connection("range");
    rows.add("the first port of a range", elsewhere(9000), range);
    rows.add("the last port of a range", elsewhere(9099), range);
    rows.add("a port behind a range", elsewhere(9100), no_route);
    rows.add("a port in the range of its own", elsewhere(9050), passed(Reason::PassRoute).connection("hole"));
    let host = to_proxy("host", proxy::TRANSPARENT);
    rows.add("a longer prefix in the range", syn(family, 9001).packet(), host);
    rows.add("a longer prefix against a single port", syn(family, 9050).packet(), host);

    let own = syn(family, proxy::TRANSPARENT).packet();
    rows.add("the proxy's own port", own, passed(Reason::ProxyPort));
    let own = syn_to_node(family, proxy::TRANSPARENT).packet();
    rows.add("the proxy's own port, at the node", own, passed(Reason::ProxyPort));
}

pub fn v4(rows: &mut Rows) {
    let expected = to_proxy("v4-only", proxy::V4_ONLY);
    rows.add("a route to a proxy of IPv4", syn(Family::V4, 8092).packet(), expected);
}

pub fn v6(rows: &mut Rows) {
    rows.add("a route to a proxy of IPv4", syn(Family::V6, 8092).packet(), passed(Reason::NoRoute));
}
