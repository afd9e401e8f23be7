//! What can be wrong with one route by itself, whatever it was read from.

use ipnet::IpNet;
use redirector_common::{Family, Protocol, entries::OnUnavailable};

use super::{NextHop, Part, PortRange, ProxyAddress, Route, RouteError, Target, route::family_of};

/// Longest name, in bytes.
const NAME_BYTES: usize = 63;
/// Longest name of an interface, in bytes (include/uapi/linux/if.h, IFNAMSIZ, with the zero at its end).
const INTERFACE_BYTES: usize = 15;

impl Route {
    /// Whether the route is sound by itself; [`Route::canonical`] asks this too.
    ///
    /// # Errors
    ///
    /// A bad name, no ports, a prefix with bits beyond its length or one that can never match, a proxy
    /// without address or port, a next hop that cannot be one, nothing but the proxy's own port, an `else` for a target that is always there.
    pub fn check(&self) -> Result<(), RouteError> {
        if name(&self.name).is_err() && self.name != self.match_text() {
            name(&self.name).map_err(|error| error.about(Part::Name))?;
        }
        if self.ports.is_empty() {
            return Err(RouteError::new("the route names no ports"));
        }
        self.destinations.iter().chain(&self.sources).try_for_each(prefix)?;
        self.check_target()?;
        self.check_families()
    }

    /// Whether a UDP route leaves alone the answers to this host's own sockets. They arrive, just as new
    /// datagrams do, at `local_ports`: the sysctl `net.ipv4.ip_local_port_range`.
    ///
    /// # Errors
    ///
    /// It would catch them.
    pub fn check_answers(&self, local_ports: PortRange) -> Result<(), RouteError> {
        let any = |family| self.is_in(family) && self.destinations_in(family).any(|to| to.prefix_len() == 0);
        let caught = self.ports.iter().find(|ports| ports.overlaps(local_ports));
        match caught {
            Some(ports)
                if self.protocol == Protocol::Udp
                    && self.target != Target::Pass
                    && (any(Family::V4) || any(Family::V6)) =>
            {
                Err(RouteError::new(format!(
                    "udp ports {ports} overlap those of this host's own sockets (ip_local_port_range, {local_ports}) \
                     and would catch their answers: give the route a destination prefix"
                )))
            }
            _ => Ok(()),
        }
    }

    fn check_target(&self) -> Result<(), RouteError> {
        match (&self.target, self.on_unavailable) {
            (Target::Proxy(proxy), _) => self.check_proxy(proxy),
            (Target::Interface(hop), _) => interface(hop).map_err(|error| error.about(Part::Target)),
            (Target::Pass | Target::Drop, OnUnavailable::Pass) => Ok(()),
            (target, _) => Err(RouteError::new(format!("`{target}` is always available: leave `else` out"))
                .about(Part::OnUnavailable)),
        }
    }

    fn check_proxy(&self, proxy: &ProxyAddress) -> Result<(), RouteError> {
        let port = proxy.port;
        if proxy.v4.is_none() && proxy.v6.is_none() {
            return Err(RouteError::new("the proxy has no address").about(Part::Target));
        }
        if proxy.v4.is_some_and(|v4| v4.is_unspecified()) || proxy.v6.is_some_and(|v6| v6.is_unspecified()) {
            return Err(RouteError::new(format!(
                "a proxy that listens at every address is found by any of them: write proxy:{port}"
            ))
            .about(Part::Target));
        }
        if port == 0 {
            return Err(RouteError::new("the proxy has no port: ports are 1 to 65535").about(Part::Target));
        }
        if self.ports.iter().all(|range| range.without(Some(port)).next().is_none()) {
            return Err(RouteError::new(format!(
                "{port} is the proxy's own port: connections to the proxy itself would be led back to it"
            ))
            .about(Part::Ports));
        }
        Ok(())
    }

    /// Every prefix takes part: one whose family the rest of the route excludes is a mistake.
    fn check_families(&self) -> Result<(), RouteError> {
        for prefix in self.destinations.iter().chain(&self.sources) {
            let family = family_of(prefix);
            let (word, other) = match family {
                Family::V4 => ("IPv4", "IPv6"),
                Family::V6 => ("IPv6", "IPv4"),
            };
            let because = if !self.target.takes(family) {
                match self.target {
                    Target::Interface(_) => format!("the router has no {word} address"),
                    _ => format!("the proxy has no {word} address"),
                }
            } else if self.destinations_in(family).next().is_none() {
                format!("every destination is {other}")
            } else if self.sources_in(family).next().is_none() {
                format!("every source is {other}")
            } else {
                continue;
            };
            return Err(
                RouteError::new(format!("{prefix} can never match: {because}")).about(Part::Prefix(*prefix))
            );
        }
        Ok(())
    }
}

/// Whether a prefix has no bits beyond its length.
pub(super) fn prefix(prefix: &IpNet) -> Result<(), RouteError> {
    match prefix.trunc() {
        whole if whole == *prefix => Ok(()),
        whole => Err(RouteError::new(format!(
            "{prefix} has bits beyond its length: write {whole} or {}",
            prefix.addr()
        ))),
    }
}

/// Whether packets can be sent there.
fn interface(hop: &NextHop) -> Result<(), RouteError> {
    let name = &hop.interface;
    // net/core/dev.c, dev_valid_name
    if name.is_empty()
        || name.len() > INTERFACE_BYTES
        || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
    {
        return Err(RouteError::new(format!("`{name}` is not the name of an interface")));
    }
    if name == "lo" {
        return Err(RouteError::new(
            "packets to the loopback device come to this host: write proxy:PORT for a proxy here",
        ));
    }
    match hop.via {
        Some(via) if via.is_unspecified() || via.is_multicast() || via.is_loopback() => {
            Err(RouteError::new(format!("{via} is not the address of a router")))
        }
        _ => Ok(()),
    }
}

/// Whether a name can be given to a route.
///
/// # Errors
///
/// It cannot.
pub fn name(name: &str) -> Result<(), RouteError> {
    let wrong = if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        "begins with a letter"
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
        "has only letters, digits, `-` and `.`"
    } else if name.len() > NAME_BYTES {
        "has at most 63 characters"
    } else if matches!(name, "tcp" | "udp") {
        return Err(RouteError::new(format!("`{name}` is a protocol, not a name: write {name}/")));
    } else {
        return Ok(());
    };
    Err(RouteError::new(format!("`{name}` is not a name: a name {wrong}")))
}
