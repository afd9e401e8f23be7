//! Routes in the words of the configuration, as JSON.

use std::net::SocketAddr;

use ipnet::IpNet;
use redirector_common::entries::OnUnavailable;
use serde::Serialize;

use crate::routes::{PortRange, ProxyAddress, Route, Target};

/// A route with the keys of `[[route]]`, all of them. What is written is read back as the same route.
#[derive(Debug, Serialize)]
pub struct RouteWords<'a> {
    name: &'a str,
    protocol: &'static str,
    ports: Vec<Ports>,
    destinations: Vec<String>,
    sources: Vec<String>,
    target: TargetWords<'a>,
    on_unavailable: &'static str,
}

/// The document that [`super::routes`] reads.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    routes: Vec<RouteWords<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Ports {
    One(u16),
    Range(String),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum TargetWords<'a> {
    Word(&'static str),
    Proxy {
        proxy: Proxy,
    },
    Interface {
        interface: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        via: Option<String>,
    },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Proxy {
    Port(u16),
    Listeners(Vec<SocketAddr>),
}

/// Writes the document of these routes.
///
/// # Errors
///
/// None is known: memory does not refuse what is written to it, and the keys are strings.
pub fn write_routes<'a>(routes: impl IntoIterator<Item = &'a Route>) -> serde_json::Result<Vec<u8>> {
    let routes = routes.into_iter().map(RouteWords::from).collect();
    serde_json::to_vec(&Document { version: 1, routes })
}

impl<'a> From<&'a Route> for RouteWords<'a> {
    fn from(route: &'a Route) -> Self {
        Self {
            name: &route.name,
            protocol: route.protocol.word(),
            ports: route.ports.iter().map(ports).collect(),
            destinations: route.destinations.iter().map(prefix).collect(),
            sources: route.sources.iter().map(prefix).collect(),
            target: target(&route.target),
            on_unavailable: match route.on_unavailable {
                OnUnavailable::Pass => "pass",
                OnUnavailable::Drop => "drop",
                OnUnavailable::Reset => "reset",
            },
        }
    }
}

fn ports(range: &PortRange) -> Ports {
    match range.width() {
        1 => Ports::One(range.first()),
        _ => Ports::Range(range.to_string()),
    }
}

/// A prefix, or the address where it is one host.
fn prefix(prefix: &IpNet) -> String {
    match prefix.prefix_len() == prefix.max_prefix_len() {
        true => prefix.addr().to_string(),
        false => prefix.to_string(),
    }
}

fn target(target: &Target) -> TargetWords<'_> {
    match target {
        Target::Proxy(proxy) if *proxy == ProxyAddress::loopback(proxy.port) => {
            TargetWords::Proxy { proxy: Proxy::Port(proxy.port) }
        }
        Target::Proxy(ProxyAddress { v4, v6, port }) => {
            let v4 = v4.map(|v4| SocketAddr::from((v4, *port)));
            let v6 = v6.map(|v6| SocketAddr::from((v6, *port)));
            TargetWords::Proxy { proxy: Proxy::Listeners(v4.into_iter().chain(v6).collect()) }
        }
        Target::Interface(hop) => {
            let via = hop.via.map(|via| via.to_string());
            TargetWords::Interface { interface: &hop.interface, via }
        }
        Target::Pass => TargetWords::Word("pass"),
        Target::Drop => TargetWords::Word("drop"),
    }
}
