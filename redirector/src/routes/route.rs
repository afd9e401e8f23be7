//! A route and its parts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use redirector_common::{Family, Protocol, entries::OnUnavailable};

use super::RouteError;

/// What becomes of new connections that match. [`FromStr`](std::str::FromStr) reads the text of the command
/// line, [`Display`](std::fmt::Display) writes it in its one canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Unique within an origin. A route that was given no name is called by its [`Route::match_text`].
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination ports; at least one range.
    pub ports: Vec<PortRange>,
    /// Destination prefixes; none means any.
    pub destinations: Vec<IpNet>,
    /// Source prefixes; none means any.
    pub sources: Vec<IpNet>,
    /// Where the connections go.
    pub target: Target,
    /// What they get while the target cannot take them.
    pub on_unavailable: OnUnavailable,
}

/// Where the connections of a route go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To a proxy on this node.
    Proxy(ProxyAddress),
    /// Out of another interface, every packet and past the host's own routes.
    Interface(NextHop),
    /// Nowhere else: they are left alone.
    Pass,
    /// Nowhere: they are dropped.
    Drop,
}

/// A proxy as routes of one protocol lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proxy {
    /// By what it listens.
    pub protocol: Protocol,
    /// Where.
    pub at: ProxyAddress,
}

/// Where a proxy listens. A proxy with an address of one family only takes connections of that family only,
/// and a route to it matches no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyAddress {
    /// IPv4 address of the listener.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address of the listener.
    pub v6: Option<Ipv6Addr>,
    /// Port of the listener, not zero.
    pub port: u16,
}

/// Where the packets of a route are sent. A route by an IPv4 router takes IPv4 only; an IPv6 router can be that of IPv4 too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// Name of the interface.
    pub interface: String,
    /// The router there; without one the destination is a neighbour itself.
    pub via: Option<IpAddr>,
}

/// Destination ports from the first to the last, both of them included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Route {
    /// The route in the form that its text has: each list sorted and without repetition, and a name where it
    /// is empty. Every route enters by here, whatever it is read from.
    ///
    /// # Errors
    ///
    /// Whatever can be wrong with one route by itself: see [`Route::check`].
    pub fn canonical(mut self) -> Result<Self, RouteError> {
        self.ports.sort_unstable();
        self.ports.dedup();
        for prefixes in [&mut self.destinations, &mut self.sources] {
            prefixes.sort_unstable();
            prefixes.dedup();
        }
        if self.name.is_empty() {
            self.name = self.match_text();
        }
        self.check()?;
        Ok(self)
    }

    /// The destination prefixes of one family: all of it where the route names none at all.
    pub(super) fn destinations_in(&self, family: Family) -> impl Iterator<Item = IpNet> + Clone {
        prefixes_in(&self.destinations, family)
    }

    /// The source prefixes of one family: all of it where the route names none at all.
    pub(super) fn sources_in(&self, family: Family) -> impl Iterator<Item = IpNet> + Clone {
        prefixes_in(&self.sources, family)
    }

    /// Whether packets of a family can match: none can where the target is a proxy of the other family.
    pub(super) fn is_in(&self, family: Family) -> bool {
        self.target.takes(family)
            && self.destinations_in(family).next().is_some()
            && self.sources_in(family).next().is_some()
    }

    /// The proxy that the route leads to, if that is its target.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        match &self.target {
            Target::Proxy(at) => Some(Proxy { protocol: self.protocol, at: *at }),
            Target::Interface(_) | Target::Pass | Target::Drop => None,
        }
    }

    /// The port that the route leaves out of its ranges, so that connections to the proxy itself are not
    /// led back to it.
    pub(crate) fn own_port(&self) -> Option<u16> {
        self.proxy().map(|proxy| proxy.at.port)
    }
}

impl Target {
    /// Whether connections of a family can go there.
    pub(super) fn takes(&self, family: Family) -> bool {
        match (self, family) {
            (Self::Proxy(proxy), Family::V4) => proxy.v4.is_some(),
            (Self::Proxy(proxy), Family::V6) => proxy.v6.is_some(),
            (Self::Interface(hop), Family::V6) => !hop.via.is_some_and(|via| via.is_ipv4()),
            (Self::Interface(_) | Self::Pass | Self::Drop, _) => true,
        }
    }

    /// Where connections of a family go: a proxy's listener or an interface; nothing where they go nowhere else.
    pub fn at(&self, family: Family) -> Option<String> {
        match (self, family) {
            (Self::Proxy(proxy), Family::V4) => {
                Some(SocketAddr::new(proxy.v4?.into(), proxy.port).to_string())
            }
            (Self::Proxy(proxy), Family::V6) => {
                Some(SocketAddr::new(proxy.v6?.into(), proxy.port).to_string())
            }
            (Self::Interface(NextHop { interface, via: None }), _) => Some(interface.clone()),
            (Self::Interface(NextHop { interface, via: Some(via) }), _) => {
                Some(format!("{interface} via {via}"))
            }
            (Self::Pass | Self::Drop, _) => None,
        }
    }
}

impl ProxyAddress {
    /// The addresses of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// A proxy that listens at 127.0.0.1 and at ::1.
    pub const fn loopback(port: u16) -> Self {
        Self { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST), port }
    }

    /// A proxy that listens at one address.
    pub const fn at(address: IpAddr, port: u16) -> Self {
        match address {
            IpAddr::V4(address) => Self { v4: Some(address), v6: None, port },
            IpAddr::V6(address) => Self { v4: None, v6: Some(address), port },
        }
    }
}

impl PortRange {
    /// The range from the first to the last port.
    ///
    /// # Errors
    ///
    /// Port 0, or a last port before the first.
    pub fn new(first: u16, last: u16) -> Result<Self, RouteError> {
        if first == 0 {
            return Err(RouteError::new(
                "port 0 is not a port that a connection can have: ports are 1 to 65535",
            ));
        }
        if last < first {
            return Err(RouteError::new(format!("the range ends before it begins: write {last}-{first}")));
        }
        Ok(Self { first, last })
    }

    /// The range between two ports, both included, which are in order.
    pub(super) const fn between(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// The first port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports it has.
    pub const fn width(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// Whether a port is in both.
    pub(super) const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// What is left of the range without one port: none, one or two ranges.
    pub(super) fn without(self, port: Option<u16>) -> impl Iterator<Item = Self> {
        let Self { first, last } = self;
        let (below, above) = match port {
            Some(port) if (first..=last).contains(&port) => (
                (first < port).then(|| Self { first, last: port - 1 }),
                (port < last).then(|| Self { first: port + 1, last }),
            ),
            _ => (Some(self), None),
        };
        below.into_iter().chain(above)
    }
}

/// The family of a prefix.
pub(super) const fn family_of(prefix: &IpNet) -> Family {
    match prefix {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

fn prefixes_in(prefixes: &[IpNet], family: Family) -> impl Iterator<Item = IpNet> + Clone {
    let any = match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    };
    let any = prefixes.is_empty().then_some(any);
    any.into_iter().chain(prefixes.iter().copied().filter(move |prefix| family_of(prefix) == family))
}
