//! Where in a file something stands.

use std::{collections::HashMap, fmt, ops::Range, path::PathBuf, sync::Arc};

use super::source::Source;
use crate::routes::{Origin, Refusal, Tie};

/// A part of a file, in bytes of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// The file, by its number.
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

/// A part of a file, as a person finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// The line's text, or what stands around the place in a long one.
    text: String,
    /// Characters of `text` before the place.
    before: usize,
    /// Characters in the place, at least one.
    width: usize,
}

/// Where the routes of the files stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlaces(Arc<(Vec<Source>, HashMap<String, Span>)>);

impl Span {
    /// A file has at most 16 MiB.
    pub fn new(file: u32, range: Range<usize>) -> Self {
        Self { file, start: range.start as u32, end: range.end as u32 }
    }
}

impl Place {
    /// Finds a span in its file. A span that goes beyond its line ends there.
    pub(super) fn find(sources: &[Source], span: Span) -> Option<Self> {
        /// Characters that are shown before and after the beginning of the place.
        const AROUND: usize = 60;
        let Source { path, text } = sources.get(span.file as usize)?;
        let start = text.floor_char_boundary(span.start as usize);
        let end = text.ceil_char_boundary(span.end as usize).max(start);
        let (head, tail) = text.split_at(start);
        let line_start = head.rfind('\n').map_or(0, |newline| newline + 1);
        let (before, after) = (&head[line_start..], tail.split('\n').next().unwrap_or_default());
        let after = after.strip_suffix('\r').unwrap_or(after);
        let width = text[start..end.min(start + after.len())].chars().take(AROUND).count().max(1);

        let shown_from = before.char_indices().rev().nth(AROUND - 1).map_or(0, |(index, _)| index);
        let shown_to = after.char_indices().nth(AROUND).map_or(after.len(), |(index, _)| index);
        let dots = |cut: bool| if cut { "…" } else { "" };
        let shown: String = [dots(shown_from > 0), &before[shown_from..]].concat();
        let rest = [&after[..shown_to], dots(shown_to < after.len())].concat();
        Some(Self {
            file: path.clone(),
            line: head.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.chars().count() + 1,
            before: shown.chars().count(),
            text: (shown + &rest).chars().map(printable).collect(),
            width,
        })
    }
}

/// A character that takes one column and leaves the terminal alone.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

impl Place {
    /// The line's text, and below it what is meant.
    pub(super) fn line(&self) -> impl fmt::Display {
        let Self { text, before, width, .. } = self;
        fmt::from_fn(move |f| write!(f, "  {text}\n  {:before$}{:^<width$}", "", ""))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl RoutePlaces {
    pub(super) fn new(sources: Vec<Source>, spans: HashMap<String, Span>) -> Self {
        Self(Arc::new((sources, spans)))
    }

    /// Where the route of this name stands, if a file gives it.
    pub fn find(&self, origin: Origin, name: &str) -> Option<Place> {
        (origin == Origin::Files).then(|| self.of(name))?
    }

    fn of(&self, name: &str) -> Option<Place> {
        let (sources, spans) = &*self.0;
        Place::find(sources, *spans.get(name)?)
    }

    /// Where the route of this name stands, for people.
    pub fn show(&self, name: &str) -> Option<impl fmt::Display> {
        let place = self.of(name)?;
        Some(fmt::from_fn(move |f| write!(f, "{place}: route {name}\n{}", place.line())))
    }

    /// A refusal, with the places of the routes that it names.
    pub fn explain(&self, refusal: &Refusal) -> String {
        let (origin, names) = match refusal {
            Refusal::Route { origin, name, .. } | Refusal::SameName { origin, name } => {
                (*origin, std::slice::from_ref(name))
            }
            Refusal::Tie(Tie { origin, names, .. }) => (*origin, &names[..]),
            Refusal::Limit { .. } => return refusal.to_string(),
        };
        let of_files = names.iter().filter(|_| origin == Origin::Files);
        let places = of_files.filter_map(|name| self.show(name));
        places.fold(refusal.to_string(), |text, place| format!("{text}\n{place}"))
    }
}
