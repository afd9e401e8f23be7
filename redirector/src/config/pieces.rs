//! Many routes, read a piece of the text at a time. A parsed text takes some thirty times its own room, and to have the kernel
//! clear the pages for all of it takes longer than to parse it.
//!
//! This is for what is right. Where anything is wrong nothing comes of it, and the whole text is read to say all that is.

use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use super::{
    json::Members,
    place::Span,
    reader::{Collector, Reader},
    syntax::Garbled,
};
use crate::routes::Route;

/// Bytes of a piece, about.
const PIECE: usize = 1 << 16;

/// Where a piece of TOML may begin. Within a string it may not, but then the piece before has no end to its string, and is wrong.
const BEGIN: &str = "\n[[route]]";

/// What stands in a file before its first `[[route]]`, and the routes, if nothing but routes follows.
pub(super) fn toml(file: u32, text: &str) -> Option<(&str, Vec<(Route, Span)>)> {
    toml_by(PIECE, file, text)
}

/// The same, in pieces of so many bytes.
fn toml_by(length: usize, file: u32, text: &str) -> Option<(&str, Vec<(Route, Span)>)> {
    let (head, mut rest) = text.split_at(text.find(BEGIN)? + 1);
    if rest.len() < length || DeTable::parse(head).ok()?.get_ref().contains_key("route") {
        return None;
    }
    let mut collector = Collector::default();
    let mut reader = Reader { file, collector: &mut collector, garbled: Garbled::default() };
    let mut routes = Vec::new();
    while !rest.is_empty() {
        let least = rest.floor_char_boundary(length);
        let end = rest[least..].find(BEGIN).map_or(rest.len(), |at| least + at + 1);
        let start = text.len() - rest.len();
        let piece;
        (piece, rest) = rest.split_at(end);
        let root = DeTable::parse(piece).ok()?;
        let mut entries = root.get_ref().iter();
        let (key, values) = entries.next()?;
        let (DeValue::Array(values), None) = (values.get_ref(), entries.next()) else { return None };
        if key.get_ref() != "route" {
            return None;
        }
        for value in values {
            let (route, span) = reader.route(value)?;
            routes.push((route, Span::new(file, start + span.start as usize..start + span.end as usize)));
        }
    }
    collector.is_empty().then_some((head, routes))
}

/// The routes of a document in JSON that has them and its version, and nothing else.
pub(super) fn json(text: &str) -> Option<Vec<(Route, Span)>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let [(version_key, version), (routes_key, routes)] = &members[..] else { return None };
    if (version_key.as_str(), version.get(), routes_key.as_str()) != ("version", "1", "routes") {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(routes.get()).ok()?;
    let mut collector = Collector::default();
    let mut reader = Reader { file: 0, collector: &mut collector, garbled: Garbled::default() };
    let routes = items.into_iter().map(|item| {
        let value = reader.json(text, item.get(), 2)?;
        reader.route(&value)
    });
    let routes = routes.collect::<Option<Vec<_>>>()?;
    collector.is_empty().then_some(routes)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// What may stand in a file, some of it over the border between two pieces.
    const PARTS: [&str; 12] = [
        "[[route]]\nname = \"NAME\"\nports = [80]\ntarget = \"drop\"\n",
        "[[route]]\nname = \"NAME\"\nports = [80]\n[route.target]\nproxy = 15001\n",
        "[[route]]\nports = [\n80,\n]\ntarget = { proxy = 15001 } # é\n",
        "name = '''\n",
        "'''\n",
        "ports = [\n",
        "]\n",
        "[limits]\nroutes = 5\n",
        "route = []\n",
        "\r\n",
        "[[route.ports]]\n",
        "é = 1\n",
    ];

    proptest! {
        #[test]
        fn what_is_read_in_pieces_is_what_the_whole_says(
            parts in vec(prop_oneof![3 => Just(PARTS[0]), 1 => select(&PARTS[..])], 1..12),
            length in 1..80_usize,
        ) {
            let parts = (0..).zip(parts).map(|(number, part): (u32, _)| part.replace("NAME", &format!("r{number}")));
            let text = format!("version = 1\n{}", parts.collect::<String>());
            let Some((head, routes)) = toml_by(length, 3, &text) else { return Ok(()) };
            let whole = DeTable::parse(&text).expect("the whole is TOML");
            let mut collector = Collector::default();
            let mut reader = Reader { file: 3, collector: &mut collector, garbled: Garbled::default() };
            let values = whole.get_ref().get("route").expect("it has routes").get_ref().as_array();
            let wanted: Option<Vec<_>> = values.expect("a list").iter().map(|value| reader.route(value)).collect();
            prop_assert_eq!(Some(routes), wanted);
            let others = |table: &DeTable| table.keys().filter(|key| key.get_ref() != "route").count();
            prop_assert_eq!(others(DeTable::parse(head).expect("TOML").get_ref()), others(whole.get_ref()));
        }
    }

    #[test]
    fn routes_are_read_in_pieces_where_they_are_right() {
        let text = format!("version = 1\n{}", PARTS[0].replace("NAME", "web"));
        assert_eq!(toml_by(10, 0, &text).expect("it is right").1[0].0.to_string(), "web:tcp/80=drop");
        let text = r#"{"version": 1, "routes": [{"name": "web", "ports": [80], "target": "drop"}]}"#;
        assert_eq!(json(text).expect("it is right")[0].0.to_string(), "web:tcp/80=drop");
    }
}
