//! Addresses that are never redirected, and their neighbours that are.

use std::net::{IpAddr, SocketAddr};

use redirector_common::Reason;

use super::Rows;
use crate::{
    packet::{Segment, flag},
    sockets::port,
    stage::proxy,
    support::world::Family,
    table::{passed, to_proxy},
};

const SPECIAL_V4: &[&str] = &[
    "0.0.0.0",
    "0.255.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.255.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
];
const ORDINARY_V4: &[&str] = &[
    "1.0.0.0",
    "10.96.0.10",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "223.255.255.255",
];
const SPECIAL_V6: &[&str] = &[
    "::",
    "::1",
    "::2",
    "::ffff:192.0.2.1",
    "::ffff:ffff:ffff:ffff",
    "fe80::",
    "fe80::1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "ff00::",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const ORDINARY_V6: &[&str] = &[
    "::1:0:0:0:0",
    "0:1::",
    "64:ff9b::1",
    "2001:db8::",
    "fd00::1",
    "fe7f:ffff::1",
    "fec0::",
    "feff:ffff::1",
];

pub fn special(rows: &mut Rows, family: Family) {
    let (special, _) = of(family);
    for address in special.iter().map(|address| parse(address)) {
        let to = Segment::syn(client(family), (address, 8080).into());
        rows.add(format!("to {address}"), to.packet(), passed(Reason::SpecialAddress));
        let from = Segment::syn((address, port::FRESH).into(), (family.service(), 8080).into());
        rows.add(format!("from {address}"), from.packet(), passed(Reason::SpecialAddress));
        // An empty slot of `LOCALS` reads as the unspecified address, which no host has.
        let reason = if address.is_unspecified() { Reason::Local } else { Reason::NotNew };
        rows.add(format!("a segment to {address}"), to.with(flag::ACK).packet(), passed(reason));
        // These are so for every route, even one that drops.
        let drop = Segment::syn(client(family), (address, 8091).into());
        rows.add(format!("to {address}, which a route drops"), drop.packet(), passed(Reason::SpecialAddress));
    }
}

pub fn ordinary(rows: &mut Rows, family: Family) {
    let (_, ordinary) = of(family);
    let steered = to_proxy("web", proxy::TRANSPARENT);
    for address in ordinary.iter().map(|address| parse(address)) {
        let to = Segment::syn(client(family), (address, 8080).into());
        rows.add(format!("to {address}"), to.packet(), steered);
        let from = Segment::syn((address, port::FRESH).into(), (family.service(), 8080).into());
        rows.add(format!("from {address}"), from.packet(), steered);
    }
}

fn of(family: Family) -> (&'static [&'static str], &'static [&'static str]) {
    match family {
        Family::V4 => (SPECIAL_V4, ORDINARY_V4),
        Family::V6 => (SPECIAL_V6, ORDINARY_V6),
    }
}

fn client(family: Family) -> SocketAddr {
    (family.client(), port::FRESH).into()
}

fn parse(address: &str) -> IpAddr {
    address.parse().expect("the table has addresses")
}
