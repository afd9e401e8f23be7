//! The state directory: one agent's, with the API's socket and the routes that the API gave last. It is in memory
//! (/run) as a rule, so that these routes survive the agent and not a reboot.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    config::{self, Syntax},
    routes::Route,
};

/// The file of routes.
const ROUTES: &str = "api-routes.json";

/// The file that says why the configuration was refused. There is none where it was not.
const REFUSAL: &str = "configuration-refused";

/// A state directory, which no other agent uses while this is there.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// Locked; the lock goes with the process, however it ends.
    _lock: File,
}

/// What was saved.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The routes; none where nothing was saved, or nothing that can be read.
    pub routes: Vec<Route>,
    /// What was found instead, and where it is now.
    pub warning: Option<String>,
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
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
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

    /// Saves the routes that the API gives. They are on the disk, whole, when this returns; a crash before leaves
    /// those of the last time.
    ///
    /// # Errors
    ///
    /// They cannot be written; those of the last time are still there.
    pub fn save(&self, routes: &[Route]) -> Result<()> {
        let bytes = config::write_routes(routes).context("write the API's routes as JSON")?;
        let (new, path) = (self.path.join(".api-routes.json.new"), self.path.join(ROUTES));
        let write = || -> io::Result<()> {
            // What a crash left could belong to somebody else by now.
            remove(&new)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write()
            .inspect_err(|_| remove(&new).unwrap_or_default())
            .with_context(|| format!("save the API's routes in {}", path.display()))
    }

    /// The routes that were saved last. A file that cannot be read is put aside, so that it neither stops an agent nor
    /// is lost.
    ///
    /// # Errors
    ///
    /// The file is there and the kernel does not give it out.
    pub fn load(&self) -> Result<Loaded> {
        let path = self.path.join(ROUTES);
        let shown = path.display();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::default()),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        match config::routes(&path, bytes, Syntax::Json) {
            Ok((routes, _)) => Ok(Loaded { routes, warning: None }),
            Err(errors) => {
                let bad = self.put_aside()?;
                let error = errors.errors.first().map(ToString::to_string).unwrap_or_default();
                let warning = format!(
                    "the API's routes of the last agent cannot be read and are left out; they are in {} now\n{error}",
                    bad.display()
                );
                Ok(Loaded { routes: Vec::new(), warning: Some(warning) })
            }
        }
    }

    /// Leaves word for [`refusal`] of why the configuration was refused when it was last read, or that it was not.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn set_refusal(&self, why: Option<&String>) -> Result<()> {
        let path = self.path.join(REFUSAL);
        let written = match why {
            Some(why) => fs::write(&path, why),
            None => remove(&path),
        };
        written.with_context(|| format!("write {}", path.display()))
    }

    /// Puts the saved routes aside, and says where they are then.
    ///
    /// # Errors
    ///
    /// The file cannot be renamed.
    pub fn put_aside(&self) -> Result<PathBuf> {
        let (path, bad) = (self.path.join(ROUTES), self.path.join("api-routes.json.bad"));
        fs::rename(&path, &bad).with_context(|| format!("put {} aside", path.display()))?;
        Ok(bad)
    }
}

/// Why the agent with this state directory refused its configuration when it was last read, if it did.
pub fn refusal(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(REFUSAL)).ok()
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
    use std::{env, os::unix::fs::MetadataExt as _, process};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            Self(env::temp_dir().join(format!("redirector-state-{name}-{}", process::id())))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn routes(texts: &[&str]) -> Vec<Route> {
        texts.iter().map(|text| text.parse().expect("a route")).collect()
    }

    #[test]
    fn what_is_saved_is_loaded_and_nobody_else_may_read_it() {
        let directory = Directory::new("saved");
        let state = State::open(&directory.0.join("below")).expect("make it");
        assert_eq!(state.load().expect("load"), Loaded::default());
        let all = routes(&[
            "web:10.0.0.0/8:80=proxy:15001 else reset",
            "9000-9100=interface:eth1 via fe80::1",
            "22=pass",
        ]);
        for routes in [&all[..], &all[1..], &[]] {
            state.save(routes).expect("save");
            assert_eq!(state.load().expect("load"), Loaded { routes: routes.to_vec(), warning: None });
        }
        let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!([mode(state.path()), mode(&state.path().join(ROUTES))], [0o755, 0o600]);
        assert_eq!(fs::read_dir(state.path()).expect("read").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_said() {
        let directory = Directory::new("damaged");
        let state = State::open(&directory.0).expect("make it");
        state.save(&routes(&["web:80=proxy:15001"])).expect("save");
        let path = directory.0.join(ROUTES);
        let whole = fs::read(&path).expect("read");
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).expect("write");
            let loaded = state.load().expect("load");
            assert_eq!(loaded.routes, [], "of {end} bytes");
            assert!(loaded.warning.expect("it is said").contains("api-routes.json.bad"));
            assert_eq!(fs::read(directory.0.join("api-routes.json.bad")).expect("read"), &whole[..end]);
            assert!(!path.exists());
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

    #[test]
    fn routes_that_cannot_be_written_leave_the_old_ones() {
        let directory = Directory::new("full");
        let state = State::open(&directory.0).expect("make it");
        let first = routes(&["web:80=proxy:15001"]);
        state.save(&first).expect("save");
        // Root may write everywhere but over a directory.
        fs::create_dir(directory.0.join(".api-routes.json.new")).expect("make a directory");
        let error = format!("{:#}", state.save(&[]).expect_err("it cannot be written"));
        assert!(error.contains("save the API's routes in"), "{error}");
        assert_eq!(state.load().expect("load").routes, first);
    }
}
