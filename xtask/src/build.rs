//! `cargo xtask build`: the agent, with the programs in it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{setup, steps::Steps, test::host};

/// The task.
pub fn run(is_static: bool) -> Result<()> {
    let mut steps = Steps::default();
    let agent = if is_static { static_agent(&mut steps, Profile::Release)? } else { agent(&mut steps)? };
    println!("{}", agent.display());
    Ok(())
}

/// How the agent is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As the tests are.
    Debug,
    /// For use.
    Release,
}

/// Builds the agent, and before it whatever its build needs; returns its file.
pub fn agent(steps: &mut Steps) -> Result<PathBuf> {
    setup::toolchain(steps)?;
    steps.begin("build the agent in release mode, with the programs in it");
    steps.run("cargo build", build(Profile::Release))?;
    let agent = target()?.join("release/redirector");
    ensure!(agent.is_file(), "cargo built no {}", agent.display());
    Ok(agent)
}

/// Builds the agent with everything that it calls in it, and leaves it in a directory of its own; returns its file.
///
/// It is linked with the C library of this host, which needs no other toolchain. What that cannot do in a static
/// program, to resolve names, the agent does not ask for.
pub fn static_agent(steps: &mut Steps, profile: Profile) -> Result<PathBuf> {
    setup::toolchain(steps)?;
    steps.begin("build the agent static, with the programs in it");
    let host = host()?;
    let mut command = build(profile);
    // Named, although it is this host: else cargo would build macros and build scripts so too, which cannot be.
    command.args(["--target", &host]).env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    steps.run("cargo build", command)?;
    let (built, directory) = match profile {
        Profile::Debug => ("debug", "static-debug"),
        Profile::Release => ("release", "static"),
    };
    let built = target()?.join(host).join(built).join("redirector");
    let directory = target()?.join(directory);
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let agent = directory.join("redirector");
    fs::copy(&built, &agent).with_context(|| format!("copy {} to {}", built.display(), agent.display()))?;
    ensure_static(&agent)?;
    Ok(agent)
}

/// Refuses a program that asks for an interpreter, the dynamic linker: in an empty image there is none.
fn ensure_static(program: &Path) -> Result<()> {
    let headers = Command::new("readelf").arg("--program-headers").arg("--wide").arg(program).output();
    let headers = headers.context("run readelf, of binutils, as the linker is")?;
    ensure!(headers.status.success(), "readelf: {}", String::from_utf8_lossy(&headers.stderr).trim());
    if String::from_utf8_lossy(&headers.stdout).contains("INTERP") {
        bail!("{} is not static: it asks for the dynamic linker", program.display());
    }
    Ok(())
}

fn build(profile: Profile) -> Command {
    let mut build = cargo();
    build.args(["build", "--package", "redirector", "--bin", "redirector"]);
    if profile == Profile::Release {
        build.arg("--release");
        // Of a build for tests it would change with each commit.
        build.envs(revision().map(|revision| ("REDIRECTOR_REVISION", revision)));
    }
    build
}

/// The source's revision, where git knows it; else what the environment says stays.
fn revision() -> Option<String> {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .current_dir(xtask::root())
        .output()
        .ok()?;
    let revision = String::from_utf8(git.stdout).ok()?.trim().to_owned();
    (git.status.success() && !revision.is_empty()).then_some(revision)
}

/// Cargo puts profiles side by side, wherever the user let it have its target directory.
fn target() -> Result<PathBuf> {
    let own = env::current_exe().context("find this program's file")?;
    let target = own.parent().and_then(Path::parent).context("find the target directory")?;
    Ok(target.to_owned())
}

/// The cargo that runs this task, in the workspace's root.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(xtask::root());
    cargo
}
