//! What commands print, kept word for word: in tests/golden, and from there in the documents.

use std::{env, fs, path::Path};

/// The texts by name, in the tests themselves: they also run where there is no source tree.
const KEPT: &[(&str, &str)] = &[
    ("explain-exclusion", include_str!("../golden/explain-exclusion.txt")),
    ("explain-no-route", include_str!("../golden/explain-no-route.txt")),
    ("explain-source", include_str!("../golden/explain-source.txt")),
    ("explain-steered", include_str!("../golden/explain-steered.txt")),
    ("explain-unavailable", include_str!("../golden/explain-unavailable.txt")),
    ("flow-list", include_str!("../golden/flow-list.txt")),
    ("status", include_str!("../golden/status.txt")),
];

/// Asserts that a text is the one that is kept under this name. `REDIRECTOR_WRITE_DOCS=1` keeps it instead.
#[track_caller]
pub fn assert_golden(name: &str, text: &str) {
    let (_, kept) =
        KEPT.iter().find(|(kept, _)| *kept == name).expect("the name is one of those that are kept");
    if env::var_os("REDIRECTOR_WRITE_DOCS").is_some() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("txt");
        fs::write(path, text).expect("write it");
        return;
    }
    assert_eq!(text, *kept, "{name} is otherwise: REDIRECTOR_WRITE_DOCS=1 writes it");
}
