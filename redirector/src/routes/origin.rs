//! Who gives routes, and the routes that are built in.

use std::{collections::BTreeSet, str::FromStr};

use redirector_common::{Protocol, entries::OnUnavailable};

use super::{PortRange, Route, RouteError, Target, display::match_text, parts};

/// Who gives a set of routes. The order is that of precedence: between routes that are equally specific the
/// earlier origin wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `redirector run --route`
    CommandLine,
    /// The configuration files.
    Files,
    /// The admin API: `redirector route add`.
    Api,
    /// Objects in Kubernetes.
    Kubernetes,
    /// The agent itself: see [`built_in`].
    BuiltIn,
}

impl Origin {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::CommandLine, Self::Files, Self::Api, Self::Kubernetes, Self::BuiltIn];

    /// The word for it in messages, metrics and lists.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CommandLine => "command-line",
            Self::Files => "files",
            Self::Api => "api",
            Self::Kubernetes => "kubernetes",
            Self::BuiltIn => "built-in",
        }
    }
}

/// What is protected unless the settings say otherwise: SSH, the API server and the kubelet.
pub const PROTECT: [&str; 3] = ["tcp/22", "tcp/6443", "tcp/10250"];

/// The routes of [`Origin::BuiltIn`]: `pass` for everything in `protect`, so that a careless range does not
/// cut the node off, and for each of the proxies' own ports.
///
/// They have no condition on addresses: whoever means to steer such a port names it, or a destination.
pub fn built_in(protect: &[Protected], own_ports: impl IntoIterator<Item = Protected>) -> Vec<Route> {
    let all: BTreeSet<Protected> = protect.iter().copied().chain(own_ports).collect();
    all.into_iter().map(Protected::pass).collect()
}

/// The ports of the proxies that routes lead to.
pub fn own_ports<'a>(routes: impl IntoIterator<Item = &'a Route>) -> impl Iterator<Item = Protected> {
    routes.into_iter().filter_map(|route| {
        let port = route.own_port()?;
        // A proxy without a port is refused with its route.
        Some(Protected { protocol: route.protocol, ports: PortRange::new(port, port).ok()? })
    })
}

/// Ports of one protocol that no range cuts off; as a text `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protected {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination ports.
    pub ports: PortRange,
}

impl Protected {
    fn pass(self) -> Route {
        let Self { protocol, ports } = self;
        Route {
            name: match_text(protocol, &[], &[ports], &[]),
            protocol,
            ports: vec![ports],
            destinations: Vec::new(),
            sources: Vec::new(),
            target: Target::Pass,
            on_unavailable: OnUnavailable::Pass,
        }
    }
}

impl FromStr for Protected {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let (protocol, ports) = parts::protocol(text)?;
        Ok(Self { protocol, ports: ports.parse()? })
    }
}
