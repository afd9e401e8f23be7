//! The table itself, in the order in which `tc_ingress` looks at a packet.

use std::net::SocketAddr;

use crate::{
    packet::{Packet, Segment, flag},
    sockets::port,
    support::world::{FAMILIES, Family},
    table::{Expected, Row, case},
};

mod addresses;
mod connections;
mod datagrams;
mod extensions;
mod headers;
mod icmp_errors;
mod listeners;
mod next_hops;
mod routes;
mod udp;

/// The rows with `sk_lookup` in its place.
pub fn attached(cookies: &[(Family, Segment)]) -> Vec<Row> {
    let mut rows = Rows::default();
    for family in FAMILIES {
        rows.family = Some(family);
        headers::both(&mut rows, family);
        datagrams::both(&mut rows, family);
        udp::both(&mut rows, family);
        routes::both(&mut rows, family);
        addresses::ordinary(&mut rows, family);
        addresses::special(&mut rows, family);
        listeners::both(&mut rows, family);
        connections::both(&mut rows, family);
        next_hops::both(&mut rows, family);
        icmp_errors::both(&mut rows, family);
    }
    rows.family = Some(Family::V4);
    headers::v4(&mut rows);
    icmp_errors::v4(&mut rows);
    routes::v4(&mut rows);
    next_hops::v4(&mut rows);
    udp::v4(&mut rows);
    rows.family = Some(Family::V6);
    headers::v6(&mut rows);
    extensions::v6(&mut rows);
    icmp_errors::v6(&mut rows);
    routes::v6(&mut rows);
    next_hops::v6(&mut rows);
    udp::v6(&mut rows);
    for (family, ack) in cookies {
        rows.family = Some(*family);
        connections::cookie(&mut rows, *ack);
        if *family == Family::V6 {
            extensions::cookie(&mut rows, *ack);
        }
    }
    rows.rows
}

/// The rows without it.
pub fn detached() -> Vec<Row> {
    let mut rows = Rows::default();
    for family in FAMILIES {
        rows.family = Some(family);
        listeners::detached(&mut rows, family);
        udp::detached(&mut rows, family);
    }
    rows.rows
}

/// A segment as the last of a handshake by SYN cookie could be.
pub fn any_cookie() -> (Family, Segment) {
    let family = Family::V4;
    (family, syn_from(family, port::COOKIE, 8080).with(flag::ACK))
}

/// Rows as they are added.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    family: Option<Family>,
}

impl Rows {
    fn add(&mut self, name: impl AsRef<str>, packet: Packet, expected: Expected) {
        let family = self.family.map(|family| format!("{family:?}: ")).unwrap_or_default();
        self.rows.push(case(format!("{family}{}", name.as_ref()), packet, expected));
    }
}

/// A SYN of the client to a port of the service, whose address is nobody's.
fn syn(family: Family, destination_port: u16) -> Segment {
    syn_from(family, port::FRESH, destination_port)
}

/// A datagram of the client to a port of the service.
fn datagram(family: Family, destination_port: u16) -> Segment {
    let service = SocketAddr::new(family.service(), destination_port);
    Segment::datagram((family.client(), port::FRESH).into(), service)
}

fn syn_from(family: Family, source_port: u16, destination_port: u16) -> Segment {
    let service = SocketAddr::new(family.service(), destination_port);
    Segment::syn((family.client(), source_port).into(), service)
}

/// A SYN of the client to a port of the node itself.
fn syn_to_node(family: Family, destination_port: u16) -> Segment {
    Segment::syn((family.client(), port::FRESH).into(), (family.node(), destination_port).into())
}
