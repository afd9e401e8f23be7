//! Why a set of routes is refused.

use std::fmt;

use super::{Origin, RouteError};

/// What the maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Routes, of all origins together.
    pub routes: u32,
    /// Destination prefixes, after ports and prefixes were multiplied out.
    pub prefixes: u32,
    /// Source prefixes, of all source tables together.
    pub sources: u32,
    /// Proxies.
    pub proxies: u32,
}

/// One reason to refuse a set of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A route that is wrong by itself.
    Route {
        /// Who gave it.
        origin: Origin,
        /// Its name.
        name: String,
        /// What is wrong.
        error: RouteError,
    },
    /// Two routes of one origin that have the same name.
    SameName {
        /// Who gave them.
        origin: Origin,
        /// Their name.
        name: String,
    },
    /// Two routes of one origin between which nothing decides.
    Tie(Tie),
    /// More than there is room for.
    Limit {
        /// What there is too much of: a name in the setting `limits`, or `combinations`.
        what: &'static str,
        /// How many are needed, at least.
        needed: u64,
        /// How many there may be.
        limit: u64,
    },
}

/// Two routes of one origin that match the same packets by equally specific atoms. It does not matter
/// whether a third route wins there: it may go, and must not leave a tie behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Who gave them.
    pub origin: Origin,
    /// Names of both.
    pub names: [String; 2],
    /// What both match, as the text of a match.
    pub both: String,
}

/// Bounds the work, and the memory, that routes can cause: their ports, destinations and sources multiply, and
/// overlapping ranges and nested prefixes multiply again, often into entries that are shared in the end.
#[derive(Default)]
pub(super) struct Budget {
    spent: u64,
}

impl Budget {
    /// Forty for each of 100,000 entries.
    const COMBINATIONS: u64 = 1 << 22;

    /// Called before the work is done.
    pub(super) fn spend(&mut self, combinations: usize) -> Result<(), Refusal> {
        self.spent += combinations as u64;
        match self.spent <= Self::COMBINATIONS {
            true => Ok(()),
            false => Err(Refusal::Limit {
                what: "combinations of ports, destinations and sources",
                needed: self.spent,
                limit: Self::COMBINATIONS,
            }),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { routes: 131_072, prefixes: 262_144, sources: 65_536, proxies: 256 }
    }
}

impl Refusal {
    /// The refusal of more than there is room for, if there is.
    pub(super) fn limit(what: &'static str, needed: usize, limit: u32) -> Option<Self> {
        let (needed, limit) = (needed as u64, u64::from(limit));
        (needed > limit).then_some(Self::Limit { what, needed, limit })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route { origin, name, error } => write!(f, "route {name} ({}): {error}", origin.word()),
            Self::SameName { origin, name } => {
                write!(f, "route {name} ({}): there are two of this name", origin.word())
            }
            Self::Tie(tie) => tie.fmt(f),
            Self::Limit { what, needed, limit } => {
                write!(f, "the routes need at least {needed} {what}, and the limit is {limit}")
            }
        }
    }
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, names: [first, second], both } = self;
        let origin = origin.word();
        write!(
            f,
            "routes {first} and {second} ({origin}) both match {both}, and neither is more specific there"
        )
    }
}

impl std::error::Error for Refusal {}
