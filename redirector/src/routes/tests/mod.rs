//! Claims about routes. The oracle knows no spaces, nodes or tables: it ranks all atoms.

mod cases;
mod live;
mod oracle;
mod random;
mod refusals;
mod text;

pub(crate) use random::any_route;

use std::net::IpAddr;

use super::{Compiled, Index, Limits, Origin, Route, RouteSets, compile};
use redirector_common::{Address, Family, Flow, Protocol};

/// A new connection.
#[derive(Clone, Copy, Debug)]
struct Packet {
    protocol: Protocol,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
}

fn tcp(source: &str, destination: &str, port: u16) -> Packet {
    Packet { protocol: Protocol::Tcp, source: ip(source), destination: ip(destination), port }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn route(text: &str) -> Route {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// One origin's routes.
fn files(texts: &[&str]) -> RouteSets {
    RouteSets::from([(Origin::Files, texts.iter().map(|text| route(text)).collect())])
}

fn compiled(sets: &RouteSets) -> Compiled {
    compile(sets, &Limits::default()).unwrap_or_else(|refusals| panic!("{refusals:?}"))
}

/// What is wrong with some routes, as a user reads it.
fn refused(sets: &RouteSets, limits: &Limits) -> Vec<String> {
    compile(sets, limits).expect_err("refused").iter().map(ToString::to_string).collect()
}

/// The name of the route that the entries give for a packet.
fn winner(compiled: &Compiled, packet: Packet) -> Option<&str> {
    let slot = Index::new(compiled).route(&flow(packet))?;
    Some(&compiled.routes[slot as usize].name)
}

fn flow(packet: Packet) -> Flow {
    let (family, source) = wire_order(packet.source);
    let (of_destination, destination) = wire_order(packet.destination);
    assert_eq!(family, of_destination);
    let (protocol, destination_port) = (packet.protocol, packet.port);
    Flow { family, protocol, source, destination, source_port: 40_000, destination_port }
}

fn wire_order(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(v4) => (Family::V4, Address::v4(v4.octets())),
        IpAddr::V6(v6) => (Family::V6, Address::v6(v6.octets())),
    }
}
