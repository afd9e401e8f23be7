//! The state directory: one agent's, with the API's socket and the routes that the API gave last. It is in memory
//! (/run) as a rule, so that these routes survive the agent and not a reboot.

mod journal;

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

pub use journal::{Journal, Loaded};

/// The file that says why the configuration was refused. There is none where it was not.
const REFUSAL: &str = "configuration-refused";

/// The file that names settings which need a restart. There is none where none does.
const RESTART: &str = "restart-needed";

/// A state directory, which no other agent uses while this is there.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// The routes that the API gave.
    pub journal: Journal,
    /// Locked; the lock goes with the process, however it ends.
    _lock: File,
}

impl State {
    /// Opens the directory, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// It cannot be made, or an agent of another network namespace uses it.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        if !path.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .with_context(|| format!("make the state directory {shown}"))?;
            // Whatever the umask: who may use the socket must find it.
            fs::set_permissions(path, Permissions::from_mode(0o755))
                .with_context(|| format!("let others read {shown}"))?;
        }
        let lock = File::open(path).with_context(|| format!("open the state directory {shown}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), journal: Journal::new(path), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(anyhow!(
                "another agent uses the state directory {shown}: give this one a `state_dir` of its own"
            )),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {shown}")),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves word for [`refusal`] of why the configuration was refused when it was last read, or that it was not.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn set_refusal(&self, why: Option<&String>) -> Result<()> {
        self.leave(REFUSAL, why.map(String::as_str))
    }

    /// Leaves word for [`restart`] of the settings that need one.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn set_restart(&self, settings: &[&str]) -> Result<()> {
        self.leave(RESTART, Some(&*settings.join("\n")).filter(|names| !names.is_empty()))
    }

    fn leave(&self, name: &str, word: Option<&str>) -> Result<()> {
        let path = self.path.join(name);
        let written = match word {
            Some(word) => fs::write(&path, word),
            None => remove(&path),
        };
        written.with_context(|| format!("write {}", path.display()))
    }
}

/// Why the agent with this state directory refused its configuration when it was last read, if it did.
pub fn refusal(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(REFUSAL)).ok()
}

/// Settings that the files of the agent with this state directory say otherwise than it runs with.
pub fn restart(directory: &Path) -> Vec<String> {
    let names = fs::read_to_string(directory.join(RESTART)).unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}

/// Removes a file that need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    /// A directory of a test's own, gone with it.
    pub(super) struct Directory(pub PathBuf);

    impl Directory {
        pub fn new(name: &str) -> Self {
            Self(env::temp_dir().join(format!("redirector-state-{name}-{}", process::id())))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_is_one_agent_s() {
        let directory = Directory::new("one");
        let first = State::open(&directory.0).expect("make it");
        let second = State::open(&directory.0).expect_err("it is taken").to_string();
        assert!(second.contains("another agent") && second.contains("state_dir"), "{second}");
        drop(first);
        State::open(&directory.0).expect("it is free");
    }
}
