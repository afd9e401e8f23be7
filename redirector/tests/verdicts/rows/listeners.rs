//! What a new connection gets, by the listener that its proxy has.

use redirector_common::Reason;

use super::{Rows, syn, syn_to_node};
use crate::{
    packet::{Segment, flag},
    sockets::{port, taken},
    stage::proxy,
    support::world::Family,
    table::{dropped, marked, passed, to_proxy},
};

/// What is wrong with a listener, the port whose proxy has one so, its route, and that of the next port, which drops.
const UNAVAILABLE: &[(Reason, u16, &str, &str)] = &[
    (Reason::MptcpListener, 8084, "mptcp", "mptcp-drop"),
    (Reason::DeviceBound, 8086, "device", "device-drop"),
    (Reason::NoListener, 8088, "nobody", "nobody-drop"),
];

pub fn both(rows: &mut Rows, family: Family) {
    let web = to_proxy("web", proxy::TRANSPARENT);
    rows.add("a transparent listener", syn(family, 8080).packet(), web);
    rows.add("a transparent listener, at the node", syn_to_node(family, 8080).packet(), web);
    rows.add("the same again, now that it is stored", syn(family, 8080).packet(), web);
    let dropping = to_proxy("web-drop", proxy::TRANSPARENT);
    rows.add("a transparent listener, else drop", syn(family, 8093).packet(), dropping);

    let plain = passed(Reason::NotTransparent).unavailable("plain");
    rows.add("a listener that is not transparent", syn(family, 8082).packet(), plain);
    let plain_drop = dropped(Reason::NotTransparent).unavailable("plain-drop");
    rows.add("a listener that is not transparent, else drop", syn(family, 8083).packet(), plain_drop);
    for (port, route) in [(8082, "plain"), (8083, "plain-drop")] {
        let name = format!("{route}: a listener that is not transparent, at the node");
        rows.add(name, syn_to_node(family, port).packet(), to_proxy(route, proxy::PLAIN));
    }
    for &(reason, port, route, drop_route) in UNAVAILABLE {
        for (place, syn) in [("", syn as fn(Family, u16) -> Segment), (", at the node", syn_to_node)] {
            let name = format!("{}{place}", reason.word());
            rows.add(&name, syn(family, port).packet(), passed(reason).unavailable(route));
            let dropped = dropped(reason).unavailable(drop_route);
            rows.add(format!("{name}, else drop"), syn(family, port + 1).packet(), dropped);
        }
        // Only new connections are the route's.
        let segment = syn(family, port + 1).with(flag::ACK).packet();
        rows.add(format!("{}, a segment", reason.word()), segment, passed(Reason::NotNew));
    }
}

/// Without `sk_lookup` nothing would take what is steered.
pub fn detached(rows: &mut Rows, family: Family) {
    let pass = |route| passed(Reason::Detached).unavailable(route);
    for (place, syn) in [("", syn as fn(Family, u16) -> Segment), (", at the node", syn_to_node)] {
        rows.add(format!("detached{place}"), syn(family, 8080).packet(), pass("web"));
        let dropped = dropped(Reason::Detached).unavailable("web-drop");
        rows.add(format!("detached, else drop{place}"), syn(family, 8093).packet(), dropped);
    }
    rows.add("detached, by prefix", syn(family, 8081).packet(), pass("near"));
    rows.add("detached, without a listener", syn(family, 8088).packet(), pass("nobody"));
    let leave = passed(Reason::PassRoute).connection("leave");
    rows.add("detached, a pass route", syn(family, 8090).packet(), leave);
    let refuse = dropped(Reason::DropRoute).connection("refuse");
    rows.add("detached, a drop route", syn(family, 8091).packet(), refuse);
    // What was steered before goes on.
    let existing = Segment::syn((family.client(), port::ESTABLISHED).into(), (taken(family), 8080).into());
    let segment = existing.with(flag::ACK).packet();
    rows.add("detached, an established connection", segment, marked(Reason::Established));
}
