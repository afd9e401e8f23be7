//! What commands print, kept word for word: in tests/golden, and from there in the documents.

use std::{env, fs, path::Path};

/// Asserts that a text is the one that is kept under this name. `REDIRECTOR_WRITE_DOCS=1` keeps it.
#[track_caller]
pub fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("txt");
    if env::var_os("REDIRECTOR_WRITE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("make tests/golden");
        fs::write(&path, text).expect("write it");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, kept, "{} is otherwise: REDIRECTOR_WRITE_DOCS=1 writes it", path.display());
}
