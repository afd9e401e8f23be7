//! Which route a packet has, by comparing all of them.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;
use redirector::routes::{Origin, PortRange, ProxyAddress, Route, Target};
use redirector_common::{Family, Protocol, entries::OnUnavailable};

use super::Flow;

/// The routes of all origins.
#[derive(Debug, Default)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// By family, protocol and port.
    ports: Vec<Port>,
    /// A route that names its own proxy's port, as no compiler writes it.
    pub to_itself: Option<usize>,
}

/// A route, as it stands in its slot.
#[derive(Debug)]
pub struct Rule {
    pub origin: Origin,
    pub slot: u32,
    pub action: Action,
    pub on_unavailable: OnUnavailable,
    pub protocol: Protocol,
    ports: Vec<PortRange>,
    destinations: Vec<IpNet>,
    sources: Vec<IpNet>,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    Pass,
    Drop,
    Proxy { slot: u32, address: ProxyAddress },
    Interface(String),
}

/// What the routes say of a port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Port {
    /// A route names it, whatever its addresses.
    pub named: bool,
    /// A proxy route names it, or has named it.
    pub steered: bool,
    /// A route to an interface names it.
    pub forwarded: bool,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const PORTS: usize = 1 << 16;

impl Rules {
    /// The routes as they are now, each with its slot and, if it has one, that of its proxy. Ports that were steered before
    /// still are: connections may be open.
    pub fn replace<'a>(&mut self, routes: impl Iterator<Item = (Origin, u32, &'a Route, u32)>) {
        self.rules =
            routes.map(|(origin, slot, route, proxy)| Rule::new(origin, slot, route, proxy)).collect();
        self.ports.resize(4 * PORTS, Port::default());
        for port in &mut self.ports {
            *port = Port { steered: port.steered, ..Port::default() };
        }
        for rule in &self.rules {
            for family in FAMILIES {
                if rule.prefixes(family).next().is_none() {
                    continue;
                }
                for number in rule.ports.iter().flat_map(|range| range.first()..=range.last()) {
                    if rule.own_port() == Some(number) {
                        continue;
                    }
                    let port = &mut self.ports[index(family, rule.protocol, number)];
                    port.named = true;
                    port.steered |= matches!(rule.action, Action::Proxy { .. });
                    port.forwarded |= matches!(rule.action, Action::Interface(_));
                }
            }
        }
    }

    /// What they say of a packet's port; none where no packet to it can be of interest.
    pub fn port(&self, flow: &Flow) -> Option<Port> {
        if self.leads_to_itself(flow).is_some() {
            return Some(Port { named: true, steered: true, forwarded: false });
        }
        let port = *self.ports.get(index(flow.family(), flow.protocol, flow.destination_port))?;
        (port.named || port.steered).then_some(port)
    }

    /// The route that wins: by the longer destination, the longer source, the narrower range, the earlier origin.
    pub fn winner(&self, flow: &Flow) -> Option<usize> {
        if let Some(index) = self.leads_to_itself(flow) {
            return Some(index);
        }
        let ranked =
            self.rules.iter().enumerate().filter_map(|(index, rule)| Some((rule.rank(flow)?, index)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, index)| index)
    }
}

impl Rules {
    /// The route that names its own proxy's port, if this is a packet to that.
    fn leads_to_itself(&self, flow: &Flow) -> Option<usize> {
        let rule = &self.rules[self.to_itself?];
        let is = rule.own_port() == Some(flow.destination_port) && rule.protocol == flow.protocol;
        self.to_itself.filter(|_| is)
    }
}

fn index(family: Family, protocol: Protocol, port: u16) -> usize {
    (family as usize * 2 + protocol as usize) * PORTS + usize::from(port)
}

/// How specific a match is; the greater wins.
type Rank = (u8, u8, Reverse<u16>, Reverse<Origin>);

impl Rule {
    fn new(origin: Origin, slot: u32, route: &Route, proxy: u32) -> Self {
        let any = || FAMILIES.map(any_of).to_vec();
        let or_any = |prefixes: &[IpNet]| if prefixes.is_empty() { any() } else { prefixes.to_vec() };
        // A proxy without an address of a family takes none of its packets, nor does a router of IPv4 take IPv6.
        let taken = |prefix: &IpNet| match (&route.target, prefix) {
            (Target::Proxy(proxy), IpNet::V4(_)) => proxy.v4.is_some(),
            (Target::Proxy(proxy), IpNet::V6(_)) => proxy.v6.is_some(),
            (Target::Interface(hop), IpNet::V6(_)) => !hop.via.is_some_and(|via| via.is_ipv4()),
            _ => true,
        };
        Self {
            origin,
            slot,
            action: match &route.target {
                Target::Pass => Action::Pass,
                Target::Drop => Action::Drop,
                Target::Proxy(address) => Action::Proxy { slot: proxy, address: *address },
                Target::Interface(hop) => Action::Interface(hop.interface.clone()),
            },
            on_unavailable: route.on_unavailable,
            protocol: route.protocol,
            ports: route.ports.clone(),
            destinations: or_any(&route.destinations).into_iter().filter(taken).collect(),
            sources: or_any(&route.sources),
        }
    }

    /// A proxy's own port is not among those of a route to it.
    fn own_port(&self) -> Option<u16> {
        match &self.action {
            Action::Proxy { address, .. } => Some(address.port),
            _ => None,
        }
    }

    /// Destinations of a family to which somebody can send.
    fn prefixes(&self, family: Family) -> impl Iterator<Item = &IpNet> {
        let is = move |prefix: &&IpNet| matches!(prefix, IpNet::V4(_)) == (family == Family::V4);
        let sources = self.sources.iter().any(|source| is(&source));
        self.destinations.iter().filter(move |prefix| sources && is(prefix))
    }

    /// How specifically it matches, if it does.
    fn rank(&self, flow: &Flow) -> Option<Rank> {
        if self.protocol != flow.protocol || self.own_port() == Some(flow.destination_port) {
            return None;
        }
        let ranges =
            self.ports.iter().filter(|range| (range.first()..=range.last()).contains(&flow.destination_port));
        let narrowest = ranges.map(|range| range.last() - range.first()).min()?;
        let destination = longest(&self.destinations, flow.destination)?;
        let source = longest(&self.sources, flow.source)?;
        Some((destination, source, Reverse(narrowest), Reverse(self.origin)))
    }
}

fn any_of(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Default::default()),
        Family::V6 => IpNet::V6(Default::default()),
    }
}

/// Length of the longest prefix that has the address.
fn longest(prefixes: &[IpNet], address: IpAddr) -> Option<u8> {
    prefixes.iter().filter(|prefix| prefix.contains(&address)).map(IpNet::prefix_len).max()
}
