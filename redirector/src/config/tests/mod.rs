//! What a configuration says, and what is said of a wrong one.

mod documents;
mod errors;
mod files;
mod random;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Errors, read};
use crate::settings::Settings;

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redirector-config-{}-{number}", process::id()));
        fs::create_dir(&path).expect("make a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("make a directory");
        fs::write(&path, content).expect("write a file");
        path
    }

    /// What is said of the configuration, with this directory left out.
    fn said(&self, errors: &Errors) -> String {
        errors.to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // That it stays behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The settings of one file.
#[track_caller]
fn settings(text: &str) -> Settings {
    let directory = Directory::new();
    let path = directory.write("a.toml", text);
    read(Some(&path)).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is said of one wrong file.
#[track_caller]
fn complaint(text: impl AsRef<[u8]>) -> String {
    let directory = Directory::new();
    let path = directory.write("a.toml", text);
    directory.said(&read(Some(&path)).expect_err("the file is wrong"))
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
