//! The text of a route, as people write it.

use std::str::FromStr;

use redirector_common::entries::OnUnavailable;

use super::{PortRange, Route, RouteError, Target, check, parts};

/// How a route is written.
pub const GRAMMAR: &str =
    "[NAME:][tcp/|udp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop|reset]";

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        Text(text.trim()).route()
    }
}

/// A route's text, of which every part that is looked at is a slice: so an error knows its place.
struct Text<'a>(&'a str);

/// Reads a part of a route's text.
type Parse<'a, T> = fn(&'a str) -> Result<T, RouteError>;

impl<'a> Text<'a> {
    fn route(&self) -> Result<Route, RouteError> {
        let (what, rest) = self.0.split_once('=').ok_or_else(|| {
            self.wrong(self.end(), "no `=` and target: what is to become of these connections?")
        })?;
        let (name, what) = self.name(what)?;
        let (protocol, what) = self.part(what, parts::protocol)?;
        // The colons of an IPv6 address are inside brackets, before the last colon.
        let (destinations, ports) = match what.rfind(':').filter(|colon| !what[*colon..].contains(']')) {
            Some(colon) => (self.list(&what[..colon], parts::destination)?, &what[colon + 1..]),
            None => (Vec::new(), what),
        };
        let ports = self.list(ports, PortRange::from_str)?;

        let mut words = rest.split_whitespace().peekable();
        let target = words.next_if(|word| !matches!(*word, "via" | "from" | "else")).unwrap_or(&rest[..0]);
        let mut target = self.part(target, Target::from_str)?;
        if let Target::Interface(hop) = &mut target
            && words.next_if_eq(&"via").is_some()
        {
            hop.via = Some(self.part(words.next().unwrap_or(self.end()), parts::via)?);
        }
        let sources = match words.next_if_eq(&"from") {
            Some(_) => self.list(words.next().unwrap_or(self.end()), parts::prefix)?,
            None => Vec::new(),
        };
        let on_unavailable = match words.next_if_eq(&"else") {
            Some(_) => self.part(words.next().unwrap_or(self.end()), parts::on_unavailable)?,
            None => OnUnavailable::Pass,
        };
        if let Some(word) = words.next() {
            let message =
                format!("`{word}` is not expected here: `from` and `else` come last, in this order");
            return Err(self.wrong(word, message));
        }

        let name = name.to_owned();
        let route = Route { name, protocol, ports, destinations, sources, target, on_unavailable };
        route.canonical().map_err(|error| error.at(self.0, self.0))
    }

    /// Parts a name, empty where there is none, from what follows it.
    fn name(&self, text: &'a str) -> Result<(&'a str, &'a str), RouteError> {
        let Some((name, rest)) = text.split_once(':') else { return Ok((&text[..0], text)) };
        // What a name cannot begin with or hold, but a protocol or a destination before a colon does.
        if name.starts_with(|first: char| first.is_ascii_digit() || first == '[') || name.contains(['/', ','])
        {
            return Ok((&text[..0], text));
        }
        self.part(name, check::name)?;
        Ok((name, rest))
    }

    /// Parts that commas separate.
    fn list<T>(&self, list: &'a str, parse: Parse<'a, T>) -> Result<Vec<T>, RouteError> {
        list.split(',').map(|part| self.part(part, parse)).collect()
    }

    fn part<T>(&self, part: &'a str, parse: Parse<'a, T>) -> Result<T, RouteError> {
        parse(part).map_err(|error| error.at(self.0, part))
    }

    fn wrong(&self, part: &str, message: impl Into<String>) -> RouteError {
        RouteError::new(message).at(self.0, part)
    }

    fn end(&self) -> &'a str {
        &self.0[self.0.len()..]
    }
}
