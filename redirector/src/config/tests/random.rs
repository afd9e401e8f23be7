//! Whatever a file holds, it is read or refused, and each error has a place in the file.

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample};

use super::{Directory, read, repository};
use crate::config::Error;

/// Reads a file of these bytes, and looks at the place of each error.
fn assert_read_or_refused(directory: &Directory, content: &[u8]) {
    let path = directory.write("a.toml", content);
    let Err(errors) = read(Some(&path)) else { return };
    assert!(!errors.errors.is_empty());
    let text = String::from_utf8_lossy(content);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<_> = text.split('\n').collect();
    for error in &errors.errors {
        let Error::Wrong { place, .. } = error else { panic!("{error}") };
        assert!(place.line >= 1 && place.line <= lines.len(), "{error} of {} lines", lines.len());
        let columns = lines[place.line - 1].chars().count() + 1;
        assert!(place.column >= 1 && place.column <= columns, "{error} of {columns} columns");
    }
    // Each error has its place on a line, the text, and what is meant in it.
    assert!(errors.to_string().lines().count() > 2 * errors.errors.len());
}

/// A change of a text: at a place, so many characters are replaced.
fn mutate(text: &str, changes: &[(sample::Index, usize, String)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (at, count, instead) in changes {
        let at = at.index(characters.len() + 1);
        let end = (at + count).min(characters.len());
        characters.splice(at..end, instead.chars());
    }
    characters.into_iter().collect()
}

/// What may stand in a file.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: [&str; 38] = [
        "\n",
        "=",
        "[",
        "]",
        "[[route]]\n",
        "{",
        "}",
        "\"",
        "'",
        "'''",
        ",",
        ".",
        "-",
        "0x",
        "_",
        "#",
        "\r",
        "\r\n",
        "\u{feff}",
        "\t",
        "\0",
        "é",
        "𝄞",
        "version = 1\n",
        "version",
        "ports",
        "target",
        "name = 'a'\n",
        "proxy",
        "\\u0000",
        "\\",
        "1979-05-27",
        "nan",
        "-1",
        "99999999999999999999",
        "true",
        "interfaces.",
        "a.b.c",
    ];
    prop_oneof![4 => sample::select(&PIECES[..]).prop_map(str::to_owned), 1 => ".{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bytes_at_random(content in vec(any::<u8>(), 0..200)) {
        assert_read_or_refused(&Directory::new(), &content);
    }

    #[test]
    fn pieces_at_random(pieces in vec(piece(), 0..60)) {
        assert_read_or_refused(&Directory::new(), pieces.concat().as_bytes());
    }

    #[test]
    fn the_example_with_changes(changes in vec((any::<sample::Index>(), 0usize..8, piece()), 1..8)) {
        let text = fs::read_to_string(repository("docs/redirector.toml")).expect("read the example");
        assert_read_or_refused(&Directory::new(), mutate(&text, &changes).as_bytes());
    }
}

#[test]
fn the_example_cut_off_anywhere_is_read_or_refused() {
    let text = fs::read_to_string(repository("docs/redirector.toml")).expect("read the example");
    let directory = Directory::new();
    for (end, _) in text.char_indices().step_by(3) {
        assert_read_or_refused(&directory, &text.as_bytes()[..end]);
    }
}

#[test]
fn a_hundred_thousand_routes_are_read() {
    let directory = Directory::new();
    let route = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        format!(
            "[[route]]\nname = \"r{n}\"\nports = [80, 443]\ndestinations = [\"10.{a}.{b}.{c}\"]\ntarget = {{ proxy = 15001 }}\n"
        )
    };
    let routes: String = (0..100_000).map(route).collect();
    let path = directory.write("a.toml", format!("version = 1\n{routes}"));
    let begin = std::time::Instant::now();
    let settings = read(Some(Path::new(&path))).unwrap_or_else(|errors| panic!("{errors}"));
    println!("100,000 routes: {:?}", begin.elapsed());
    assert_eq!(settings.routes[&crate::routes::Origin::Files].len(), 100_000);
}
