//! Takes values of the expected type out of a file's tables, and collects what is wrong on the way.

use std::{fmt::Display, io, net::IpAddr, ops::RangeInclusive, path::Path, str::FromStr};

use clap::ValueEnum;
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    error::{Error, Errors},
    keys::{Table, nearest},
    place::{Place, Span},
    source::Source,
    syntax::Garbled,
};

/// A value and its place.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A key of a table, and its value.
pub(super) struct Entry<'a> {
    pub key: &'static str,
    /// Where the key stands.
    pub span: Span,
    pub value: &'a Value<'a>,
}

/// What is wrong, in all files.
#[derive(Default)]
pub(super) struct Collector {
    unreadable: Vec<Error>,
    wrong: Vec<(Span, String, Option<Span>)>,
    more: usize,
}

/// Reads one file.
pub(super) struct Reader<'a> {
    pub file: u32,
    pub collector: &'a mut Collector,
    /// Where the file is not TOML.
    pub garbled: Garbled,
}

impl Collector {
    /// The most that is kept and shown.
    const MOST: usize = 1000;
    /// The most of a message, in characters: it may repeat what the file says.
    const MESSAGE: usize = 300;

    pub fn is_empty(&self) -> bool {
        self.unreadable.is_empty() && self.wrong.is_empty()
    }

    pub fn unreadable(&mut self, path: &Path, error: io::Error) {
        self.unreadable.push(Error::Unreadable { path: path.to_owned(), error });
    }

    pub fn wrong(&mut self, span: Span, message: impl Display) {
        self.add(span, message, None);
    }

    fn add(&mut self, span: Span, message: impl Display, other: Option<Span>) {
        if self.wrong.len() >= Self::MOST {
            self.more += 1;
            return;
        }
        // On one line, and without what a terminal would obey.
        let message = message.to_string();
        let printable = message.chars().take(Self::MESSAGE).flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            let plain = escaped.is_none().then_some(character);
            escaped.into_iter().flatten().chain(plain)
        });
        self.wrong.push((span, printable.collect(), other));
    }

    /// What was collected, in the order of the files, if there is anything.
    pub fn finish(mut self, what: &'static str, sources: &[Source]) -> Option<Errors> {
        self.wrong.sort_by_key(|(span, ..)| *span);
        let wrong = self.wrong.into_iter().filter_map(|(span, message, other)| {
            let other = other.and_then(|other| Place::find(sources, other));
            Some(Error::Wrong { place: Place::find(sources, span)?, message, other })
        });
        let errors: Vec<_> = self.unreadable.into_iter().chain(wrong).collect();
        (!errors.is_empty()).then_some(Errors { what, errors, more: self.more })
    }
}

impl<'a> Reader<'a> {
    /// The place of a value.
    pub fn span<T>(&self, value: &Spanned<T>) -> Span {
        Span::new(self.file, value.span())
    }

    /// Says what is wrong there; there is no value.
    pub fn wrong<T>(&mut self, span: Span, message: impl Display) -> Option<T> {
        if !self.garbled.contains(span.start as usize) {
            self.collector.wrong(span, message);
        }
        None
    }

    /// Says what takes two places to be wrong.
    pub fn twice(&mut self, span: Span, message: impl Display, other: Span) {
        if !self.garbled.contains(span.start as usize) {
            self.collector.add(span, message, Some(other));
        }
    }

    /// Says that a value is of the wrong type.
    pub fn mistyped<T>(&mut self, value: &Value, expected: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(self.span(value), format!("expected {expected}, found {found}"))
    }

    /// Whether this build knows what the keys of a file, or of another document, mean.
    pub fn is_version(&mut self, root: &DeTable, what: &str) -> bool {
        const VERSION: i64 = 1;
        let Some(value) = root.get("version") else {
            // A file that is not TOML may say it where nobody can read it.
            if self.garbled.is_empty() {
                let start = Span::new(self.file, 0..0);
                self.wrong::<()>(start, format!("the {what} does not say `version = {VERSION}`"));
            }
            return true;
        };
        match self.integer(value, "the number 1") {
            Some(VERSION) | None => true,
            Some(other) => {
                let message = format!("this build reads version {VERSION}, not {other}");
                self.wrong::<()>(self.span(value), message);
                false
            }
        }
    }

    /// What a table holds under keys that it may have.
    pub fn entries<'v>(&mut self, table: &'v DeTable<'v>, known: &Table) -> Vec<Entry<'v>> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = self.span(key);
            match known.keys.iter().find(|known| **known == *key.get_ref()) {
                Some(key) => entries.push(Entry { key, span, value }),
                None => self.wrong(span, known.unknown(key.get_ref())).unwrap_or_default(),
            }
        }
        entries
    }

    pub fn table<'v>(&mut self, value: &'v Value<'v>, expected: &str) -> Option<&'v DeTable<'v>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => self.mistyped(value, expected),
        }
    }

    pub fn list<'v, T>(
        &mut self,
        value: &'v Value<'v>,
        expected: &str,
        mut item: impl FnMut(&mut Self, &'v Value<'v>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let DeValue::Array(values) = value.get_ref() else { return self.mistyped(value, expected) };
        // All of them are read, so that all that is wrong is said.
        let items: Vec<_> = values.iter().map(|value| item(self, value)).collect();
        items.into_iter().collect()
    }

    pub fn string<'v>(&mut self, value: &'v Value<'v>, expected: &str) -> Option<&'v str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.mistyped(value, expected),
        }
    }

    /// A string that is read as something else.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, value: &Value, expected: &str) -> Option<T> {
        let text = self.string(value, expected)?;
        let span = self.span(value);
        text.parse()
            .or_else(|error| self.wrong(span, format!("`{text}` is not {expected}: {error}")).ok_or(()))
            .ok()
    }

    pub fn address(&mut self, value: &Value, expected: &str) -> Option<IpAddr> {
        self.parsed(value, expected)
    }

    /// One of the words of a type.
    pub fn word<T: ValueEnum>(&mut self, value: &Value) -> Option<T> {
        let names: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let names: Vec<_> = names.iter().map(|name| name.get_name()).collect();
        let word = self.one_of(value, &names)?;
        T::from_str(word, false).ok()
    }

    /// One of some words.
    pub fn one_of<'w>(&mut self, value: &Value, words: &[&'w str]) -> Option<&'w str> {
        let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        self.among(value, words, &quoted.join(" or "))
    }

    /// One of some words, where other values may stand too.
    pub fn among<'w>(&mut self, value: &Value, words: &[&'w str], expected: &str) -> Option<&'w str> {
        let DeValue::String(text) = value.get_ref() else { return self.mistyped(value, expected) };
        if let Some(word) = words.iter().find(|word| *word == text) {
            return Some(word);
        }
        let near = nearest(text, words).map(|near| format!(": did you mean \"{near}\"?"));
        let near = near.unwrap_or_default();
        self.wrong(self.span(value), format!("expected {expected}, found \"{text}\"{near}"))
    }

    /// A whole number.
    pub fn integer(&mut self, value: &Value, expected: &str) -> Option<i64> {
        let DeValue::Integer(number) = value.get_ref() else { return self.mistyped(value, expected) };
        let read = |number: &DeInteger| i64::from_str_radix(number.as_str(), number.radix()).ok();
        read(number).or_else(|| self.wrong(self.span(value), format!("expected {expected}, found {number}")))
    }

    /// A whole number within a range.
    pub fn within(&mut self, value: &Value, what: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let (from, to) = (range.start(), range.end());
        let number = self.integer(value, &format!("{what}, a number"))?;
        u32::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .or_else(|| self.wrong(self.span(value), format!("{number} is not {what}: {from} to {to}")))
    }
}
