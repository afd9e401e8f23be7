//! Mounts that nobody else sees and that end with the last process in them, even one that was killed.

use std::{ffi::OsString, fs, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Runs a command in a sandbox, in place of this process.
pub fn run(command: &[OsString]) -> Result<()> {
    enter(CloneFlags::empty())?;
    let (program, arguments) = command.split_first().context("no command to run")?;
    let err = Command::new(program).args(arguments).exec();
    Err(anyhow!(err).context(format!("run {}", program.display())))
}

/// Gives the calling thread mounts of its own, with an empty `/run/netns` and an empty bpffs, and the namespaces
/// that `also` names.
pub fn enter(also: CloneFlags) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | also)
        .context("make namespaces\n  hint: this needs root and CAP_SYS_ADMIN")?;
    let nothing = None::<&str>;
    // Without this a mount would appear in the namespace that this one was copied from.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("keep mounts private")?;
    fs::create_dir_all("/run/netns").context("make /run/netns")?;
    mount(Some("tmpfs"), "/run/netns", Some("tmpfs"), MsFlags::empty(), nothing)
        .context("mount /run/netns")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), nothing).context("mount /sys/fs/bpf")
}
