//! The keys that the files may have.

use std::fmt;

/// The keys of one table.
#[derive(Debug)]
pub struct Table {
    /// What stands before each key in its full name; empty at the top.
    pub name: &'static str,
    /// The keys.
    pub keys: &'static [&'static str],
}

/// Every table: a file's top, and those below it.
pub const TABLES: [&Table; 8] = [&FILE, &INTERFACES, &LIMITS, &EVENTS, &METRICS, &LOG, &ROUTE, &TARGET];

pub(super) const FILE: Table = Table {
    name: "",
    keys: &[
        "version",
        "interfaces",
        "on_exit",
        "attach",
        "netfilter",
        "mark",
        "table",
        "rule_priority",
        "protect",
        "limits",
        "events",
        "reconcile",
        "state_dir",
        "metrics",
        "log",
        "route",
    ],
};

pub(super) const INTERFACES: Table = Table { name: "interfaces", keys: &["include", "exclude"] };

pub(super) const LIMITS: Table =
    Table { name: "limits", keys: &["routes", "prefixes", "sources", "proxies"] };

pub(super) const EVENTS: Table = Table { name: "events", keys: &["per_second"] };

pub(super) const METRICS: Table = Table { name: "metrics", keys: &["listen"] };

pub(super) const LOG: Table = Table { name: "log", keys: &["level", "format"] };

pub(super) const ROUTE: Table = Table {
    name: "route",
    keys: &["name", "protocol", "ports", "destinations", "sources", "target", "on_unavailable"],
};

pub(super) const TARGET: Table = Table { name: "route.target", keys: &["proxy", "interface", "via"] };

/// A document of routes by themselves, in TOML.
pub(super) const ROUTES_TOML: Table = Table { name: "", keys: &["version", "route"] };

/// The same in JSON.
pub(super) const ROUTES_JSON: Table = Table { name: "", keys: &["version", "routes"] };

/// A document of names.
pub(super) const NAMES: Table = Table { name: "", keys: &["version", "names"] };

impl Table {
    /// The full name of a key of this table, such as `limits.routes`.
    pub fn full(&self, key: &str) -> String {
        let dot = if self.name.is_empty() { "" } else { "." };
        format!("{}{dot}{key}", self.name)
    }

    /// What is said of a key that this table does not have. Only what is shown is thought about: a file may have a
    /// million of them.
    pub(super) fn unknown<'a>(&'a self, key: &'a str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            if !self.name.is_empty() && FILE.keys.contains(&key) {
                let where_to = "it stands above the first line in [brackets]";
                return write!(f, "`{key}` is a setting of the file: {where_to}");
            }
            match self.name {
                "" if self.keys.len() == FILE.keys.len() => write!(f, "`{key}` is not a setting")?,
                "" => write!(f, "`{key}` is not a key of this document")?,
                "route" => write!(f, "`{key}` is not a key of [[route]]")?,
                name => write!(f, "`{key}` is not a key of `{name}`")?,
            }
            match nearest(key, self.keys) {
                Some(near) => write!(f, ": did you mean `{near}`?"),
                None => write!(f, ": there are {}", self.keys.join(", ")),
            }
        })
    }
}

/// The word that a person most likely meant.
pub(crate) fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    /// Longer words are no slips of the keyboard, and comparing is quadratic.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let distance = |other: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), other);
    let near = words.iter().map(|other| (distance(other), *other)).min()?;
    (near.0 <= 1 + near.1.len() / 4).then_some(near.1)
}
