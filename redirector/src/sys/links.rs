//! BPF links of whoever, and what binds a map to a program.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::{
    bpf::{bpf, by_id, command, describe, new_descriptor},
    objects::AttachType,
};

/// What the kernel tells of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its number, unique while the host runs.
    pub id: u32,
    /// The program that it attaches.
    pub program: u32,
    /// Inode of the network namespace that it attaches to, if it is one that does.
    pub netns: Option<u32>,
}

/// The links of the host.
///
/// # Errors
///
/// The kernel's; EPERM without CAP_SYS_ADMIN.
pub fn links() -> io::Result<Vec<LinkFacts>> {
    let mut links = Vec::new();
    let mut at = [0_u32; 3];
    loop {
        match bpf(command::LINK_GET_NEXT_ID, &mut at) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(links),
            result => result?,
        }
        at[0] = at[1];
        match by_id(command::LINK_GET_FD_BY_ID, at[0]).and_then(|link| describe_link(&link)) {
            Ok(link) => links.push(link),
            // Gone since, or somebody is about to make it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAGAIN)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The beginning of `struct bpf_link_info`; what `detail` is depends on the kind.
#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    detail: [u32; 4],
}

/// BPF_LINK_TYPE_NETNS
const NETNS_LINK: u32 = 5;

/// What the kernel tells of an open link.
pub fn describe_link(link: &OwnedFd) -> io::Result<LinkFacts> {
    let mut info = LinkInfo::default();
    describe(link, &mut info)?;
    let netns = (info.kind == NETNS_LINK).then_some(info.detail[0]);
    Ok(LinkFacts { id: info.id, program: info.program, netns })
}

/// Takes the program of a link off its hook, whoever holds the link.
///
/// # Errors
///
/// The kernel's; ENOENT where there is none, EPERM without CAP_SYS_ADMIN.
pub fn detach_link(id: u32) -> io::Result<()> {
    let link = by_id(command::LINK_GET_FD_BY_ID, id)?;
    bpf(command::LINK_DETACH, &mut [link.as_raw_fd() as u32])
}

/// Attaches a program to what an interface receives, by TCX, before the programs that are there. It stays until the
/// last descriptor of the link is closed, or the interface is gone.
///
/// By ifindex, for the interface that has a name may be another one by now.
///
/// # Errors
///
/// The kernel's: ENODEV where there is no such interface, EINVAL where it has no TCX (before 6.6).
pub fn attach_tcx_first(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    /// Before the program that is named by the fields behind it, or before all if none is.
    const BEFORE: u32 = 1 << 3;
    let mut attribute =
        [program.as_raw_fd() as u32, ifindex, AttachType::TcxIngress as u32, BEFORE, 0, 0, 0, 0];
    new_descriptor(command::LINK_CREATE, &mut attribute)
}

/// Leads a link to another program, which is from then on where the old one was. Unlike to attach or detach one, this waits for
/// no grace period of RCU (kernel/bpf/tcx.c, tcx_link_update).
///
/// # Errors
///
/// The kernel's: ENOLINK where the interface is gone, EEXIST where the program is at this hook already.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    bpf(command::LINK_UPDATE, &mut [link.as_raw_fd() as u32, program.as_raw_fd() as u32, 0, 0])
}

/// Lets a map live as long as a program does that makes no use of it.
///
/// # Errors
///
/// The kernel's; it knows how since 5.10.
pub fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(command::PROG_BIND_MAP, &mut [program.as_raw_fd() as u32, map.as_raw_fd() as u32, 0])
}
