//! A `[[route]]`.

use std::str::FromStr as _;

use ipnet::IpNet;
use redirector_common::{Protocol, entries::OnUnavailable};
use toml::de::DeValue;

use super::{
    keys,
    place::Span,
    reader::{Reader, Value},
};
use crate::routes::{self, Part, PortRange, Route, RouteError, Target};

/// The parts of a route, each with its place where a later check may find fault with it.
#[derive(Default)]
struct Parts<'a> {
    name: Option<(&'a str, Span)>,
    protocol: Option<Protocol>,
    ports: Option<(Vec<PortRange>, Span)>,
    destinations: Vec<(IpNet, Span)>,
    sources: Vec<(IpNet, Span)>,
    target: Option<(Target, Span)>,
    on_unavailable: Option<(OnUnavailable, Span)>,
}

impl Reader<'_> {
    /// A route, and its place in short: that of its name, or of its beginning.
    pub fn route(&mut self, value: &Value) -> Option<(Route, Span)> {
        let table = self.table(value, "a table, after [[route]]")?;
        let whole = self.span(value);
        let entries = self.entries(table, &keys::ROUTE);
        let mut is_whole = entries.len() == table.len();
        let mut parts = Parts::default();
        for entry in entries {
            is_whole &= self.part(&mut parts, entry.key, entry.value).is_some();
        }
        for key in ["ports", "target"] {
            // A key that was meant to be this one has been refused.
            let is_misspelt = || table.keys().any(|other| keys::nearest(other.get_ref(), &[key]).is_some());
            if !table.contains_key(key) {
                is_whole = false;
                if is_misspelt() {
                    continue;
                }
                self.wrong(whole, format!("the route has no `{key}`")).unwrap_or_default()
            }
        }
        if !is_whole {
            return None;
        }
        let short = parts.name.map_or(whole, |(_, span)| span);
        match parts.route()?.canonical() {
            Ok(route) => Some((route, short)),
            Err(error) => {
                // The words for it are others on the command line.
                let message = match error.part() {
                    Some(Part::OnUnavailable) => {
                        "this target is always available: leave `on_unavailable` out"
                    }
                    _ => error.message(),
                };
                self.wrong(parts.place(&error).unwrap_or(short), message)
            }
        }
    }

    /// One key of a route: whether its value is right.
    fn part<'v>(&mut self, parts: &mut Parts<'v>, key: &str, value: &'v Value<'v>) -> Option<()> {
        let span = self.span(value);
        match key {
            "name" => parts.name = Some((self.name(value)?, span)),
            "protocol" => {
                let is_tcp = self.one_of(value, &["tcp", "udp"])? == "tcp";
                parts.protocol = Some(if is_tcp { Protocol::Tcp } else { Protocol::Udp });
            }
            "ports" => parts.ports = Some((self.ports(value)?, span)),
            "destinations" => parts.destinations = self.prefixes(value)?,
            "sources" => parts.sources = self.prefixes(value)?,
            "target" => parts.target = Some((self.target(value)?, span)),
            _ => parts.on_unavailable = Some((self.on_unavailable(value)?, span)),
        }
        Some(())
    }

    fn name<'v>(&mut self, value: &'v Value<'v>) -> Option<&'v str> {
        let name = self.string(value, "a name")?;
        // A slash is in no name but in that of a route that was given none, which only the whole route tells.
        let checked = if name.contains('/') { Ok(()) } else { routes::check_name(name) };
        checked.map(|()| name).or_else(|error| self.refused(value, &error).ok_or(())).ok()
    }

    fn ports(&mut self, value: &Value) -> Option<Vec<PortRange>> {
        const EXPECTED: &str = "a list of ports such as [80, \"8080-8089\"]";
        let ports = self.list(value, EXPECTED, |reader, value| {
            if let DeValue::String(text) = value.get_ref() {
                return PortRange::from_str(text)
                    .or_else(|error| reader.refused(value, &error).ok_or(()))
                    .ok();
            }
            let port = reader.port(value, "a port or a range such as \"8080-8089\"")?;
            PortRange::new(port, port).ok()
        })?;
        match ports.is_empty() {
            true => self.wrong(self.span(value), "the route names no ports"),
            false => Some(ports),
        }
    }

    /// A port by itself.
    pub(super) fn port(&mut self, value: &Value, expected: &str) -> Option<u16> {
        let number = self.integer(value, expected)?;
        match u16::try_from(number) {
            Ok(port @ 1..) => Some(port),
            _ => self.wrong(self.span(value), format!("{number} is not a port: ports are 1 to 65535")),
        }
    }

    fn prefixes(&mut self, value: &Value) -> Option<Vec<(IpNet, Span)>> {
        self.list(value, "a list of prefixes such as [\"10.96.0.0/12\", \"fd00::/8\"]", |reader, value| {
            let text = reader.string(value, "an address or a prefix such as \"10.96.0.0/12\"")?;
            let prefix =
                routes::prefix(text).or_else(|error| reader.refused(value, &error).ok_or(())).ok()?;
            Some((prefix, reader.span(value)))
        })
    }

    fn on_unavailable(&mut self, value: &Value) -> Option<OnUnavailable> {
        match self.one_of(value, &["pass", "drop", "reset"])? {
            "pass" => Some(OnUnavailable::Pass),
            "drop" => Some(OnUnavailable::Drop),
            _ => Some(OnUnavailable::Reset),
        }
    }

    /// Says what the routes' own rules find wrong with a value.
    pub(super) fn refused<T>(&mut self, value: &Value, error: &RouteError) -> Option<T> {
        self.wrong(self.span(value), error.message())
    }
}

impl Parts<'_> {
    /// The route, if it has ports and a target.
    fn route(&self) -> Option<Route> {
        let prefixes = |prefixes: &[(IpNet, Span)]| prefixes.iter().map(|(prefix, _)| *prefix).collect();
        Some(Route {
            name: self.name.map(|(name, _)| name.to_owned()).unwrap_or_default(),
            protocol: self.protocol.unwrap_or(Protocol::Tcp),
            ports: self.ports.clone()?.0,
            destinations: prefixes(&self.destinations),
            sources: prefixes(&self.sources),
            target: self.target.clone()?.0,
            on_unavailable: self.on_unavailable.map_or(OnUnavailable::Pass, |(word, _)| word),
        })
    }

    /// The place of what an error is about.
    fn place(&self, error: &RouteError) -> Option<Span> {
        let prefix = |wanted| {
            let mut all = self.destinations.iter().chain(&self.sources);
            all.find(|(prefix, _)| *prefix == wanted).map(|(_, span)| *span)
        };
        match error.part()? {
            Part::Name => self.name.map(|(_, span)| span),
            Part::Ports => self.ports.as_ref().map(|(_, span)| *span),
            Part::Prefix(wanted) => prefix(wanted),
            Part::Target => self.target.as_ref().map(|(_, span)| *span),
            Part::OnUnavailable => self.on_unavailable.map(|(_, span)| span),
        }
    }
}
