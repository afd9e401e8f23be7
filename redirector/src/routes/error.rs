//! What is wrong with one route.

use std::fmt;

use ipnet::IpNet;

use super::GRAMMAR;

/// What is wrong with one route, and where in its text, if it was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    message: String,
    part: Option<Part>,
    place: Option<Place>,
}

/// The part of a route that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name.
    Name,
    /// The ports, all of them together.
    Ports,
    /// One of the destinations or sources.
    Prefix(IpNet),
    /// The target.
    Target,
    /// What a connection gets when the target cannot take it.
    OnUnavailable,
}

/// A part of a text, by which a person finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    text: String,
    /// Characters before the part.
    before: usize,
    /// Characters in the part, at least one.
    width: usize,
}

impl RouteError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), part: None, place: None }
    }

    /// The same error, about a part of the route.
    pub(super) fn about(self, part: Part) -> Self {
        Self { part: Some(part), ..self }
    }

    /// The same error, about a part of the text. `part` is a slice of `text`. An error that already has its
    /// place keeps it.
    pub(super) fn at(mut self, text: &str, part: &str) -> Self {
        let start = part.as_ptr().addr() - text.as_ptr().addr();
        self.place.get_or_insert_with(|| Place {
            text: text.to_owned(),
            before: text[..start].chars().count(),
            width: part.chars().count().max(1),
        });
        self
    }

    /// What is wrong, on one line and without the text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What it is about, where it is one part.
    pub fn part(&self) -> Option<Part> {
        self.part
    }

    /// Column of the first character that is wrong, where the route was a text: from 1, and without the space
    /// before the route.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.before + 1)
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(Place { text, before, width }) = &self.place else { return Ok(()) };
        write!(f, "\n  {text}\n  {:before$}{:^<width$}\n  a route is {GRAMMAR}", "", "")
    }
}

impl std::error::Error for RouteError {}
