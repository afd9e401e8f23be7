//! `cargo xtask build`: the agent, with the programs in it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{setup, steps::Steps};

/// The task.
pub fn run() -> Result<()> {
    let agent = agent(&mut Steps::default())?;
    println!("{}", agent.display());
    Ok(())
}

/// Builds the agent, and before it whatever its build needs; returns its file.
pub fn agent(steps: &mut Steps) -> Result<PathBuf> {
    setup::toolchain(steps)?;
    steps.begin("build the agent in release mode, with the programs in it");
    let mut build = cargo();
    build.args(["build", "--release", "--package", "redirector"]);
    steps.run("cargo build", build)?;
    let own = env::current_exe().context("find this program's file")?;
    // Cargo puts profiles side by side, wherever the user let it have its target directory.
    let target = own.parent().and_then(Path::parent).context("find the target directory")?;
    let agent = target.join("release/redirector");
    ensure!(agent.is_file(), "cargo built no {}", agent.display());
    Ok(agent)
}

/// The cargo that runs this task, in the workspace's root.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(xtask::root());
    cargo
}
