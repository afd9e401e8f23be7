//! A route as the agent lists it, and as users see it.

use anyhow::anyhow;
use redirector::{failure::Failure, routes::Route};
use serde::Deserialize;

use super::unknown;
use crate::cli::agent::Row;

/// A route as the agent lists it.
#[derive(Deserialize)]
pub struct Listed {
    origin: String,
    text: String,
    available: Option<bool>,
    problem: Option<String>,
    connections: u64,
    unavailable: u64,
    lost: u64,
    overridden: Vec<Override>,
}

#[derive(Deserialize)]
struct Override {
    both: String,
    origin: String,
    name: String,
}

impl Listed {
    fn route(&self) -> Result<Route, Failure> {
        let route = self.text.parse::<Route>();
        route.map_err(|error| unknown(anyhow!("{error}")))
    }

    fn available(&self) -> &'static str {
        match self.available {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        }
    }

    /// What stands below the route: why its target takes nothing, and which routes win where.
    fn notes(&self) -> impl Iterator<Item = String> {
        let problem = self.problem.iter().map(|problem| format!("not available: {problem}"));
        let overridden = self
            .overridden
            .iter()
            .map(|Override { both, origin, name }| format!("overridden at {both} by {name} ({origin})"));
        problem.chain(overridden)
    }

    /// A row of the list.
    pub fn row(&self) -> Result<Row, Failure> {
        /// Notes that are shown of a route; `route get` has all.
        const NOTES: usize = 4;
        let route = self.route()?;
        let mut notes: Vec<_> = self.notes().take(NOTES).collect();
        let all = self.notes().count();
        if all > NOTES {
            notes.push(format!("and {} more: `redirector route get {}`", all - NOTES, route.name));
        }
        let cells = vec![
            short(&route.name),
            self.origin.clone(),
            short(&route.match_text()),
            short(&target(&route)),
            self.available().to_owned(),
            self.connections.to_string(),
            self.unavailable.to_string(),
            self.lost.to_string(),
        ];
        Ok(Row { cells, notes })
    }

    /// All of it.
    pub fn details(&self) -> Result<String, Failure> {
        let route = self.route()?;
        let Self { origin, text, connections, unavailable, lost, .. } = self;
        let mut lines = format!(
            "{:<12} {}\n{:<12} {origin}\n{:<12} {text}\n{:<12} {}\n{:<12} {}\n{:<12} {}\n",
            "name",
            route.name,
            "origin",
            "route",
            "match",
            route.match_text(),
            "target",
            target(&route),
            "available",
            self.available(),
        );
        lines += &format!(
            "{:<12} {connections}\n{:<12} {unavailable}\n{:<12} {lost}\n",
            "connections", "unavailable", "lost"
        );
        Ok(self.notes().fold(lines, |lines, note| format!("{lines}{note}\n")))
    }
}

/// The target, and what a connection gets that it cannot take.
fn target(route: &Route) -> String {
    let text = route.to_string();
    let otherwise = text.rfind(" else ").map_or("", |at| &text[at..]);
    format!("{}{otherwise}", route.target)
}

/// A cell that leaves room for others: a route may have hundreds of prefixes.
fn short(text: &str) -> String {
    const WIDEST: usize = 48;
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST - 1).chain(['…']).collect()
}
