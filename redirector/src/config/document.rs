//! Routes by themselves, or names of them: what the admin API and its commands are given.

use std::{collections::HashMap, path::Path};

use toml::de::DeTable;

use super::{
    Errors,
    keys::{self, Table},
    pieces,
    place::{RoutePlaces, Span},
    reader::{Collector, Reader, Value},
    source,
    syntax::Garbled,
};
use crate::routes::{Route, check_name};

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// As the configuration, with `[[route]]`.
    Toml,
    /// The same keys in JSON, with a list `routes`.
    Json,
}

impl Syntax {
    /// The one that a text seems to be in: JSON's begins with a bracket, with which TOML's cannot.
    pub fn of(text: &[u8]) -> Self {
        match text.trim_ascii_start().first() {
            Some(b'{') => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// Reads a document of routes. The path is what errors call it.
///
/// # Errors
///
/// All that is wrong with it, each with its place.
pub fn routes(path: &Path, bytes: Vec<u8>, syntax: Syntax) -> Result<(Vec<Route>, RoutePlaces), Errors> {
    let mut collector = Collector::default();
    let source = source::text(0, path, bytes, &mut collector);
    if syntax == Syntax::Json
        && let Some(read) = pieces::json(&source.text)
    {
        let names: HashMap<_, _> = read.iter().map(|(route, span)| (route.name.clone(), *span)).collect();
        if names.len() == read.len() && collector.is_empty() {
            let routes = read.into_iter().map(|(route, _)| route).collect();
            return Ok((routes, RoutePlaces::new(vec![source], names)));
        }
    }
    let (mut routes, mut names) = (Vec::new(), HashMap::new());
    let mut reader = Reader { file: 0, collector: &mut collector, garbled: Garbled::default() };
    let (table, key) = match syntax {
        Syntax::Toml => (&keys::ROUTES_TOML, "route"),
        Syntax::Json => (&keys::ROUTES_JSON, "routes"),
    };
    reader.document(&source.text, syntax, table, key, |reader, values| {
        for value in values {
            let Some((route, span)) = reader.route(value) else { continue };
            match names.insert(route.name.clone(), span) {
                Some(first) => {
                    let message = format!("there are two routes of the name `{}`", route.name);
                    reader.twice(span, message, first);
                }
                None => routes.push(route),
            }
        }
    });
    match collector.finish("the document", std::slice::from_ref(&source)) {
        None => Ok((routes, RoutePlaces::new(vec![source], names))),
        Some(errors) => Err(errors),
    }
}

/// Reads a document of names, in JSON.
///
/// # Errors
///
/// All that is wrong with it, each with its place.
pub fn names(path: &Path, bytes: Vec<u8>) -> Result<Vec<String>, Errors> {
    let mut collector = Collector::default();
    let source = source::text(0, path, bytes, &mut collector);
    let mut names = Vec::new();
    let mut reader = Reader { file: 0, collector: &mut collector, garbled: Garbled::default() };
    reader.document(&source.text, Syntax::Json, &keys::NAMES, "names", |reader, values| {
        for value in values {
            let Some(name) = reader.string(value, "the name of a route") else { continue };
            let checked = if name.contains('/') { Ok(()) } else { check_name(name) };
            match checked {
                Ok(()) => names.push(name.to_owned()),
                Err(error) => reader.refused(value, &error).unwrap_or_default(),
            }
        }
    });
    match collector.finish("the document", &[source]) {
        None => Ok(names),
        Some(errors) => Err(errors),
    }
}

impl Reader<'_> {
    /// Reads a document that has its version and one list.
    fn document(
        &mut self,
        text: &str,
        syntax: Syntax,
        known: &Table,
        list: &str,
        items: impl FnOnce(&mut Self, &[Value]),
    ) {
        // What is not text has been said, and everything else would follow from it.
        if !self.collector.is_empty() {
            return;
        }
        let root = match syntax {
            Syntax::Toml => Some(self.parse(text)),
            Syntax::Json => self.parse_json(text),
        };
        let Some(root) = root else { return };
        let root: &DeTable = root.get_ref();
        if !self.is_version(root, "document") {
            return;
        }
        for entry in self.entries(root, known) {
            if entry.key != list {
                continue;
            }
            let expected = match syntax {
                Syntax::Toml => "a list of tables, each after [[route]]",
                Syntax::Json => "a list in [ ]",
            };
            match entry.value.get_ref().as_array() {
                Some(values) => items(self, values),
                None => self.mistyped(entry.value, expected).unwrap_or_default(),
            }
            return;
        }
        // Of TOML, no [[route]] are no routes. Of JSON the list is what is meant, and it may be empty.
        if syntax == Syntax::Json && !root.contains_key(list) {
            let start = Span::new(self.file, 0..1);
            self.wrong(start, format!("the document has no `{list}`")).unwrap_or_default()
        }
    }
}
