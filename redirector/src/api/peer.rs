//! Who may use the API: root, the agent's own user, and the group of its socket.

use std::{
    fmt,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use tokio::net::UnixStream;

use crate::sys;

/// The process at the other end, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    uid: u32,
    gid: u32,
    /// `None` for one of another pid namespace.
    pid: Option<i32>,
}

/// A peer who may not. The mode of the socket keeps it away already; the mode can be changed, and says nothing
/// to whoever may read and write everywhere.
pub(super) type Refused = Option<Peer>;

/// Looks at who is there: the peer who may not use the API.
pub(super) fn check(stream: &UnixStream, socket: &Path) -> Result<(), Refused> {
    let credentials = stream.peer_cred().map_err(|_| None)?;
    let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
    if [0, sys::effective_uid()].contains(&peer.uid) {
        return Ok(());
    }
    // The group may be set while the agent runs.
    let group = socket.metadata().map_err(|_| Some(peer))?.gid();
    let is_member = || sys::peer_groups(stream.as_fd()).is_ok_and(|groups| groups.contains(&group));
    if peer.gid == group || is_member() { Ok(()) } else { Err(Some(peer)) }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)?;
        self.pid.iter().try_for_each(|pid| write!(f, " (pid {pid})"))
    }
}
