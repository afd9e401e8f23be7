//! `cargo xtask lint`: the format, the host's crates, the programs.

use anyhow::{Result, anyhow};

use crate::{build::cargo, setup, steps::Steps};

/// The task.
pub fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.begin("check the format");
    let mut format = cargo();
    format.args(["fmt", "--all", "--check"]);
    steps.run("cargo fmt", format).map_err(|err| anyhow!("{err:#}\n  hint: type\n    cargo fmt --all"))?;

    let toolchain = setup::toolchain(&mut steps)?;
    steps.begin("lint the host's crates, tests included");
    let mut host = cargo();
    host.args(["clippy", "--all-targets", "--", "--deny", "warnings"]);
    steps.run("cargo clippy", host)?;

    let clippy = setup::clippy(&mut steps, &toolchain)?;
    steps.begin("lint the programs, for the target that they run on");
    let mut bpf = toolchain.command(&clippy, "clippy")?;
    bpf.args(["--", "--deny", "warnings"]);
    steps.run("cargo clippy for BPF", bpf)?;

    eprintln!("lint: clean");
    Ok(())
}
