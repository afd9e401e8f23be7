//! One agent for each network namespace.

use std::io;
use std::os::{
    linux::net::SocketAddrExt as _,
    unix::net::{SocketAddr, UnixListener},
};

use anyhow::{Context, Result, anyhow};

/// The abstract socket that an agent holds: its names belong to the network namespace, and it is gone with the
/// process, however that ends.
const NAME: &str = "redirector";

/// Held while the agent runs.
pub struct Lock(#[allow(dead_code, reason = "held, not read")] UnixListener);

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// Another agent serves this network namespace.
    pub fn take() -> Result<Self> {
        let address = SocketAddr::from_abstract_name(NAME).context("name the lock")?;
        match UnixListener::bind_addr(&address) {
            Ok(socket) => Ok(Self(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(anyhow!("another agent serves this network namespace (it holds @{NAME})"))
            }
            Err(error) => Err(error).with_context(|| format!("take the lock @{NAME}")),
        }
    }
}
