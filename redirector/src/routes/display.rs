//! The canonical text of a route.
//!
//! One form, so that equal routes have equal texts: the protocol always, a host without its prefix length, a
//! range of one port as that port, and neither a name nor an `else` that follows from the rest.

use std::fmt::{self, Display, Formatter};

use ipnet::IpNet;
use redirector_common::{Family, Protocol, entries::OnUnavailable};

use super::{NextHop, PortRange, ProxyAddress, Route, Target, route::family_of};

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.name != self.match_text() {
            write!(f, "{}:", self.name)?;
        }
        let to = to(self.protocol, &self.destinations, &self.ports);
        write!(f, "{to}={}{}", self.target, from(&self.sources))?;
        match self.on_unavailable {
            OnUnavailable::Pass => Ok(()),
            OnUnavailable::Drop => f.write_str(" else drop"),
            OnUnavailable::Reset => f.write_str(" else reset"),
        }
    }
}

impl Route {
    /// The match alone: `tcp/10.96.0.20:443`, or `tcp/443 from 10.1.0.0/16`. It names a route that was given
    /// no name; no name that can be given equals it, for it has a slash.
    pub fn match_text(&self) -> String {
        match_text(self.protocol, &self.destinations, &self.ports, &self.sources)
    }
}

pub(super) fn match_text(
    protocol: Protocol,
    destinations: &[IpNet],
    ports: &[PortRange],
    sources: &[IpNet],
) -> String {
    format!("{}{}", to(protocol, destinations, ports), from(sources))
}

fn to(protocol: Protocol, destinations: &[IpNet], ports: &[PortRange]) -> impl Display {
    let separator = if destinations.is_empty() { "" } else { ":" };
    fmt::from_fn(move |f| {
        write!(f, "{}/", protocol.word())?;
        write!(f, "{}{separator}{}", joined(destinations.iter().map(bracketed)), joined(ports.iter()))
    })
}

fn from(sources: &[IpNet]) -> impl Display {
    let from = if sources.is_empty() { "" } else { " from " };
    fmt::from_fn(move |f| write!(f, "{from}{}", joined(sources.iter().map(plain))))
}

/// A prefix before a colon, which an IPv6 address has many of.
fn bracketed(prefix: &IpNet) -> impl Display {
    fmt::from_fn(|f| match family_of(prefix) {
        Family::V4 => plain(prefix).fmt(f),
        Family::V6 => write!(f, "[{}]", plain(prefix)),
    })
}

/// A prefix, or the address where it is one host.
pub(crate) fn plain(prefix: &IpNet) -> impl Display {
    fmt::from_fn(|f| match prefix.prefix_len() == prefix.max_prefix_len() {
        true => prefix.addr().fmt(f),
        false => prefix.fmt(f),
    })
}

fn joined<T: Display>(items: impl Iterator<Item = T> + Clone) -> impl Display {
    fmt::from_fn(move |f| {
        items.clone().enumerate().try_for_each(|(i, item)| {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{item}")
        })
    })
}

impl Display for PortRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.width() {
            1 => write!(f, "{}", self.first()),
            _ => write!(f, "{}-{}", self.first(), self.last()),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(proxy) => write!(f, "proxy:{proxy}"),
            Self::Interface(NextHop { interface, via: None }) => write!(f, "interface:{interface}"),
            Self::Interface(NextHop { interface, via: Some(via) }) => {
                write!(f, "interface:{interface} via {via}")
            }
            Self::Pass => f.write_str("pass"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

/// What stands behind `proxy:` in a route.
impl Display for ProxyAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self != Self::loopback(self.port) {
            let v4 = self.v4.map(|v4| v4.to_string());
            let v6 = self.v6.map(|v6| format!("[{v6}]"));
            write!(f, "{}:", joined(v4.iter().chain(&v6)))?;
        }
        write!(f, "{}", self.port)
    }
}
