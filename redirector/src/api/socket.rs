//! The socket.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::ErrorKind,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::SOCKET;
use crate::state::State;

/// A listening socket, whose name goes when this is dropped.
pub(super) struct Socket {
    /// Where it is.
    pub path: PathBuf,
    /// The socket, which does not block.
    pub listener: UnixListener,
}

impl Socket {
    /// Binds it. It is made where nobody else can reach it, and gets its name, over that of an agent that was killed,
    /// when its mode is right: whoever finds it finds a socket that takes connections. The state directory is ours
    /// alone, so that there is no other agent's socket to be replaced.
    pub fn bind(state: &State) -> Result<Self> {
        let path = state.path().join(SOCKET);
        let aside = state.path().join(".api");
        remove(&aside)?;
        DirBuilder::new().mode(0o700).create(&aside).with_context(|| format!("make {}", aside.display()))?;
        let bound = Self::bind_aside(&aside.join("s"), &path);
        let removed = remove(&aside);
        let listener = bound.with_context(|| format!("bind the API's socket {}", path.display()))?;
        removed?;
        Ok(Self { path, listener })
    }

    fn bind_aside(aside: &Path, path: &Path) -> Result<UnixListener> {
        let listener = UnixListener::bind(aside)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(aside, Permissions::from_mode(0o660))?;
        fs::rename(aside, path)?;
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have been faster; nobody is served by either.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes a directory that need not be there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
