//! One agent for each network namespace.

use std::{
    fs, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
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

/// An agent that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process; `None` where /proc does not show it: it is of another pid namespace, or of another user.
    pub pid: Option<u32>,
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid}"),
            None => f.write_str("its pid cannot be seen from here"),
        }
    }
}

/// The agent that holds the lock of the calling thread's network namespace.
///
/// It is looked for, not connected to: nobody accepts there, and the sockets would queue up.
///
/// # Errors
///
/// The sockets cannot be listed.
pub fn running() -> Result<Option<Running>> {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").context("list the Unix sockets")?;
    let name = format!("@{NAME}");
    let held = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inode = held.filter(|words| words.get(7) == Some(&&*name)).find_map(|words| words.get(6).copied());
    Ok(inode.map(|inode| Running { pid: holder(&format!("socket:[{inode}]")) }))
}

/// The process that has this open.
fn holder(object: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|target| target.as_os_str() == object)
    })
}
