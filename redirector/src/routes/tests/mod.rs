//! Claims about routes. The oracle knows no spaces, nodes or tables: it ranks all atoms.

mod cases;
mod maps;
mod oracle;
mod random;
mod refusals;
mod text;

use std::net::IpAddr;

use super::{Compiled, Limits, Origin, Route, RouteSets, compile};
use maps::Maps;
use redirector_common::Protocol;

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
    let slot = Maps::new(compiled).route(packet)?;
    Some(&compiled.routes[slot as usize].name)
}
