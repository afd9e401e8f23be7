//! The documents say what the reader knows.

use std::fs;

use super::{read, repository};
use crate::{config::keys::TABLES, routes::Origin, settings::Settings};

#[test]
fn the_example_is_read_and_names_every_key() {
    let path = repository("docs/redirector.toml");
    let settings = read(Some(&path)).unwrap_or_else(|errors| panic!("{errors}"));
    let text = fs::read_to_string(&path).expect("read the example");
    for table in TABLES {
        for key in table.keys {
            let has = |word: &str| word.trim_matches(['[', '{', '"']) == *key;
            let words = || text.split(|c: char| c.is_whitespace() || c == ']');
            assert!(words().any(has), "the example has no {}", table.full(key));
        }
    }
    assert_eq!(settings.routes[&Origin::Files].len(), 5);
    // What it says of the settings is what they are without it.
    let default = Settings::default();
    assert_eq!(
        Settings {
            interfaces: default.interfaces.clone(),
            routes: default.routes.clone(),
            route_places: default.route_places.clone(),
            ..settings
        },
        default
    );
}

#[test]
fn the_reference_has_a_row_for_every_key_and_no_other() {
    let text = fs::read_to_string(repository("docs/configuration.md")).expect("read the reference");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut rows: Vec<_> = rows.map(|(key, _)| key.to_owned()).collect();
    // A table is there by its keys, unless it is a value itself.
    let tables = ["interfaces", "limits", "events", "metrics", "log", "route"].map(str::to_owned);
    let keys = TABLES.iter().flat_map(|table| table.keys.iter().map(|key| table.full(key)));
    let mut keys: Vec<_> = keys.filter(|key| !tables.contains(key)).collect();
    rows.sort();
    keys.sort();
    assert_eq!(rows, keys);
}

#[test]
fn the_reference_s_snippet_is_read() {
    let text = fs::read_to_string(repository("docs/configuration.md")).expect("read the reference");
    let snippet = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let settings = super::settings(snippet.expect("there is a snippet"));
    assert_eq!(settings.interfaces.include, ["eth0"]);
    assert_eq!(
        settings.routes[&Origin::Files][0].to_string(),
        "tcp/10.96.0.0/12,[fd00::/8]:80,8080-8089=proxy:15001"
    );
}
