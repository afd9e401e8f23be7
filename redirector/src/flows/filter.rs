//! Which connections somebody wants to see.

use std::net::IpAddr;

use ipnet::IpNet;
use redirector_common::{Reason, Verdict};

use super::{Flow, Item};
use crate::{
    config::keys::nearest,
    routes::{PortRange, prefix},
};

/// What a connection must be, and must not be. Of each kind one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    is: Vec<Filter>,
    is_not: Vec<Filter>,
}

/// One thing that a connection may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Opened by one of these.
    From(Vec<IpNet>),
    /// Opened to one of these.
    To(Vec<IpNet>),
    /// To one of these ports.
    Port(Vec<PortRange>),
    /// With one of these verdicts.
    Verdict(Vec<Verdict>),
    /// For one of these reasons.
    Reason(Vec<Reason>),
    /// Decided by one of these routes.
    Route(Vec<String>),
    /// By one of these interfaces.
    Interface(Vec<String>),
}

impl Filters {
    /// The names of the filters.
    pub const NAMES: [&'static str; 7] = ["from", "to", "port", "verdict", "reason", "route", "interface"];

    /// Adds one by its name, before which `not_` turns it round, and its values, with commas between them.
    ///
    /// # Errors
    ///
    /// What is wrong with a value.
    pub fn add(&mut self, name: &str, values: &str) -> Result<(), String> {
        let (filters, name) = match name.strip_prefix("not_") {
            Some(name) => (&mut self.is_not, name),
            None => (&mut self.is, name),
        };
        filters.push(Filter::read(name, values)?);
        Ok(())
    }

    /// Whether somebody wants to see this. That some were lost everybody does.
    pub fn take(&self, item: &Item) -> bool {
        let Item::Flow(flow) = item else { return true };
        self.is.iter().all(|filter| filter.is(flow)) && !self.is_not.iter().any(|filter| filter.is(flow))
    }
}

impl Filter {
    fn read(name: &str, values: &str) -> Result<Self, String> {
        let values = values.split(',');
        Ok(match name {
            "from" => Self::From(each(values, |text| prefix(text).map_err(|error| error.to_string()))?),
            "to" => Self::To(each(values, |text| prefix(text).map_err(|error| error.to_string()))?),
            "port" => Self::Port(each(values, |text| {
                text.parse().map_err(|error: crate::routes::RouteError| error.to_string())
            })?),
            "verdict" => Self::Verdict(each(values, |text| {
                let words: Vec<_> = Verdict::ALL.iter().map(|verdict| verdict.word()).collect();
                Verdict::from_word(text).ok_or_else(|| unknown("verdict", text, &words))
            })?),
            "reason" => Self::Reason(each(values, |text| {
                let words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
                Reason::from_word(text).ok_or_else(|| unknown("reason", text, &words))
            })?),
            "route" => Self::Route(values.map(str::to_owned).collect()),
            _ => Self::Interface(values.map(str::to_owned).collect()),
        })
    }

    fn is(&self, flow: &Flow) -> bool {
        let within =
            |prefixes: &[IpNet], address: IpAddr| prefixes.iter().any(|prefix| prefix.contains(&address));
        match self {
            Self::From(prefixes) => within(prefixes, flow.source.ip()),
            Self::To(prefixes) => within(prefixes, flow.destination.ip()),
            Self::Port(ranges) => {
                let port = flow.destination.port();
                ranges.iter().any(|range| (range.first()..=range.last()).contains(&port))
            }
            Self::Verdict(verdicts) => verdicts.contains(&flow.verdict),
            Self::Reason(reasons) => reasons.contains(&flow.reason),
            Self::Route(names) => flow.route.as_ref().is_some_and(|name| names.contains(name)),
            Self::Interface(names) => names.contains(&flow.interface),
        }
    }
}

fn each<T>(
    values: std::str::Split<'_, char>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    values.map(read).collect()
}

fn unknown(what: &str, word: &str, words: &[&str]) -> String {
    match nearest(word, words) {
        Some(near) => format!("`{word}` is no {what}: did you mean `{near}`?"),
        None => format!("`{word}` is no {what}: there are {}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use redirector_common::Protocol;

    use super::*;

    fn flow(source: &str, destination: &str, verdict: Verdict, reason: Reason, route: Option<&str>) -> Item {
        Item::Flow(Flow {
            time: SystemTime::UNIX_EPOCH,
            interface: "eth0".to_owned(),
            protocol: Protocol::Tcp,
            source: source.parse().expect("an address and a port"),
            destination: destination.parse().expect("an address and a port"),
            verdict,
            reason,
            route: route.map(str::to_owned),
            target: None,
            is_unnamed: false,
        })
    }

    #[test]
    fn each_filter_takes_what_it_names_and_its_opposite_the_rest() {
        let steered = flow("10.0.0.1:1", "10.96.0.1:80", Verdict::Steered, Reason::Proxy, Some("web"));
        let passed = flow("[fd00::1]:1", "[fd00:96::1]:8085", Verdict::Passed, Reason::NoRoute, None);
        for (name, values, takes) in [
            ("from", "10.0.0.0/8", [true, false]),
            ("from", "fd00::/8,192.0.2.0/24", [false, true]),
            ("to", "10.96.0.1", [true, false]),
            ("port", "80", [true, false]),
            ("port", "81-90,8080-8089", [false, true]),
            ("verdict", "steered,dropped", [true, false]),
            ("reason", "no-route", [false, true]),
            ("route", "web,other", [true, false]),
            ("interface", "eth0", [true, true]),
            ("interface", "eth1", [false, false]),
        ] {
            for (prefix, opposite) in [("", false), ("not_", true)] {
                let mut filters = Filters::default();
                filters.add(&format!("{prefix}{name}"), values).expect("it is one");
                let took = [&steered, &passed].map(|item| filters.take(item));
                assert_eq!(took, takes.map(|takes| takes != opposite), "{prefix}{name}={values}");
                assert!(filters.take(&Item::Lost { rate: 1, full: 0 }));
            }
        }
    }

    #[test]
    fn all_filters_must_take_it_and_what_is_wrong_is_said() {
        let item = flow("10.0.0.1:1", "10.96.0.1:80", Verdict::Steered, Reason::Proxy, Some("web"));
        let mut filters = Filters::default();
        assert!(filters.take(&item));
        for (name, values, takes) in
            [("port", "80", true), ("to", "10.0.0.0/8", true), ("not_from", "10.0.0.1", false)]
        {
            filters.add(name, values).expect("it is one");
            assert_eq!(filters.take(&item), takes, "{name}");
        }
        for (name, values, word) in [
            ("verdict", "stered", "did you mean `steered`?"),
            ("not_reason", "no-rout", "did you mean `no-route`?"),
            ("port", "80-", "port"),
            ("from", "10.0.0.1/8", "10.0.0"),
        ] {
            let error = filters.add(name, values).expect_err("it is none");
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn every_word_of_the_enums_is_one_of_the_filters() {
        for verdict in Verdict::ALL {
            assert_eq!(Filter::read("verdict", verdict.word()), Ok(Filter::Verdict(vec![*verdict])));
        }
        for reason in Reason::ALL {
            assert_eq!(Filter::read("reason", reason.word()), Ok(Filter::Reason(vec![*reason])));
        }
    }
}
