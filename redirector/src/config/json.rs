//! JSON, as values with places: the same that the reader takes out of TOML.

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{place::Span, reader::Reader};

/// How deep brackets may stand in brackets. A target's list of addresses is at five.
const DEEPEST: usize = 8;

impl Reader<'_> {
    /// Reads a text of JSON whose outermost value is an object, or says what is wrong with it.
    pub fn parse_json<'t>(&mut self, text: &'t str) -> Option<Spanned<DeTable<'t>>> {
        // One pass over all of it, which allocates nothing, finds what is not JSON.
        let whole: &RawValue = match serde_json::from_str(text) {
            Ok(whole) => whole,
            Err(error) => {
                let at = offset(text, error.line(), error.column());
                return self.wrong(Span::new(self.file, at..at + 1), reason(&error));
            }
        };
        let value = self.json(text, whole.get(), 0)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Spanned::new(span, table)),
            other => self.mistyped(&Spanned::new(span, other), "an object in { }"),
        }
    }

    /// One value; `raw` is a slice of `text`.
    pub(super) fn json<'t>(
        &mut self,
        text: &'t str,
        raw: &'t str,
        depth: usize,
    ) -> Option<Spanned<DeValue<'t>>> {
        let place = place(text, raw);
        let span = Span::new(self.file, place.clone());
        if depth > DEEPEST {
            return self.wrong(span, format!("nested more than {DEEPEST} brackets deep"));
        }
        let value = match raw.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = self.parsed_json(raw, span)?;
                let mut table = DeTable::new();
                let mut is_whole = true;
                for (key, raw) in members {
                    let key_place = key.place(text).unwrap_or_else(|| place.clone());
                    if table.contains_key(&*key.0) {
                        let message = format!("`{}` stands here twice", key.0);
                        self.wrong(Span::new(self.file, key_place), message).unwrap_or_default()
                    } else if let Some(value) = self.json(text, raw.get(), depth + 1) {
                        table.insert(Spanned::new(key_place, key.0), value);
                        continue;
                    }
                    is_whole = false;
                }
                is_whole.then_some(DeValue::Table(table))?
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = self.parsed_json(raw, span)?;
                let items: Vec<_> =
                    items.into_iter().map(|item| self.json(text, item.get(), depth + 1)).collect();
                DeValue::Array(items.into_iter().collect::<Option<DeArray>>()?)
            }
            Some(b'"') => DeValue::String(self.parsed_json::<Text>(raw, span)?.0),
            Some(b't') => DeValue::Boolean(true),
            Some(b'f') => DeValue::Boolean(false),
            Some(b'n') => return self.wrong(span, "null is no value: leave the key out"),
            // A number of JSON is one of TOML.
            _ => match DeValue::parse(raw) {
                Ok(number) => number.into_inner(),
                Err(error) => return self.wrong(span, format!("not a number: {}", error.message())),
            },
        };
        Some(Spanned::new(place, value))
    }

    /// What is JSON as a whole can be wrong in a string only, by half a surrogate pair.
    fn parsed_json<'t, T: Deserialize<'t>>(&mut self, raw: &'t str, span: Span) -> Option<T> {
        serde_json::from_str(raw).or_else(|error| self.wrong(span, reason(&error)).ok_or(())).ok()
    }
}

/// A string, which is a slice of the text where nothing in it is escaped.
pub(super) struct Text<'t>(Cow<'t, str>);

/// The members of an object in their order, with those whose key was there before.
pub(super) struct Members<'t>(pub Vec<(Text<'t>, &'t RawValue)>);

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn place(&self, text: &str) -> Option<Range<usize>> {
        match self.0 {
            Cow::Borrowed(key) => Some(place(text, key)),
            Cow::Owned(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Where a slice of a text stands in it, in bytes.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// Where a parser means by a line and a byte of it, both from 1; a text that ends too soon is wrong at its end.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    (before + column.saturating_sub(1)).min(text.len())
}

/// The parser's words, without the place, which is shown anyway.
fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("not JSON: {message}")
}
