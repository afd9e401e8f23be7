//! Files that go with their test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory that goes when this is dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes a directory.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("redirector-test-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it, and in a directory below if the name says so.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        let parent = path.parent().expect("a file is in a directory");
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("make {}: {error}", parent.display()));
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // That it stays behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}
