//! Mounts that nobody else sees and that end with the last process in them, even one that was killed.

use std::{env, ffi::OsString, fs, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::steps::Steps;

/// Runs a command in a sandbox, in place of this process.
pub fn run(command: &[OsString]) -> Result<()> {
    enter(CloneFlags::empty())?;
    let (program, arguments) = command.split_first().context("no command to run")?;
    let err = Command::new(program).args(arguments).exec();
    Err(anyhow!(err).context(format!("run {}", program.display())))
}

/// Fails, with what to type instead of `task`, where no sandbox can be made.
pub fn check(steps: &mut Steps, task: &str) -> Result<()> {
    steps.begin("see whether this process may make namespaces and load programs");
    let own = env::current_exe().context("find this program's file")?;
    let tried = Command::new(own).args(["sandbox", "true"]).output().context("try a sandbox")?;
    ensure!(
        tried.status.success(),
        "{}\n  \
         hint: this needs root with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF; type\n    \
         sudo env \"PATH=$PATH\" \"HOME=$HOME\" {task}\n  \
         The tests that need no rights are\n    \
         cargo test --package redirector-common",
        String::from_utf8_lossy(&tried.stderr).trim().trim_start_matches("xtask: ")
    );
    Ok(())
}

/// Gives the calling thread mounts of its own, with an empty `/run/netns` and an empty bpffs, and the namespaces
/// that `also` names.
pub fn enter(also: CloneFlags) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | also).context("make namespaces")?;
    let nothing = None::<&str>;
    // Without this a mount would appear in the namespace that this one was copied from.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("keep mounts private")?;
    fs::create_dir_all("/run/netns").context("make /run/netns")?;
    mount(Some("tmpfs"), "/run/netns", Some("tmpfs"), MsFlags::empty(), nothing)
        .context("mount /run/netns")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), nothing).context("mount /sys/fs/bpf")
}
