//! What is not TOML in a file.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, Error},
};

use super::{place::Span, reader::Reader};

/// How far behind the first error more are looked for, in bytes: text of another kind has an error at every
/// character, each of which takes a hundred bytes.
const AHEAD: usize = 1 << 20;

impl Reader<'_> {
    /// Reads a file's text, as far as it can be understood, and says where it cannot.
    pub fn parse<'t>(&mut self, text: &'t str) -> Spanned<DeTable<'t>> {
        let first = match DeTable::parse(text) {
            Ok(table) => return table,
            Err(error) => error.span().map_or(0, |span| span.end),
        };
        let ahead = text.floor_char_boundary(first.saturating_add(AHEAD));
        let line_end = line(text, ahead).end;
        // Of a line without end, no more either.
        let end = if line_end - ahead < AHEAD { line_end } else { ahead };
        let (table, errors) = DeTable::parse_recoverable(&text[..end]);
        for error in errors {
            let span = error.span().unwrap_or_default();
            // What stood open where we stopped may be closed behind it.
            let is_of_the_cut = end < text.len() && span.start >= end;
            // The first error of a line is the mistake, and the others follow from it.
            if is_of_the_cut || self.garbled.contains(span.start) {
                continue;
            }
            self.garbled.add(line(text, span.start));
            let message = message(&error, text.get(span.clone()).unwrap_or_default());
            self.collector.wrong(Span::new(self.file, span), message);
        }
        table
    }
}

/// Lines that are not TOML: what seems to stand there is a guess, and what is wrong with it nothing that its writer
/// can mend.
#[derive(Default)]
pub(super) struct Garbled(BTreeMap<usize, usize>);

impl Garbled {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, at: usize) -> bool {
        self.0.range(..=at).next_back().is_some_and(|(_, end)| at <= *end)
    }

    fn add(&mut self, line: Range<usize>) {
        self.0.insert(line.start, line.end);
    }
}

/// The line around a position.
fn line(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    start..end
}

/// The parser's words, but for those that say what is behind it rather than what is wrong.
fn message(error: &Error, part: &str) -> String {
    match error.message() {
        "duplicate key" => format!("`{part}` stands here twice"),
        message if message.starts_with("string values must be quoted") => match part {
            "" => "a value is missing here".to_owned(),
            _ => format!("`{part}` is no value: a string stands in quotation marks"),
        },
        // Of keys the parser does not say where.
        message if message.contains("recurs") => {
            "the file is nested more than 80 brackets or dots deep".to_owned()
        }
        message => format!("not TOML: {message}"),
    }
}
