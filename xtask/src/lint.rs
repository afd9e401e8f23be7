//! `cargo xtask lint`: the format, the host's crates, the programs.

use std::{env::consts::ARCH, process::Command};

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
    let target = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let mut bpf = Command::new(clippy);
    bpf.args([
        "clippy",
        "--package",
        "redirector-ebpf",
        "--bins",
        "-Z",
        "build-std=core",
        "--target",
        target,
    ]);
    // A directory of its own: two compilers that take turns in one rebuild each other's work.
    bpf.arg("--target-dir").arg(xtask::root().join("target/bpf"));
    bpf.args(["--", "--deny", "warnings"]);
    // cargo-clippy otherwise runs the cargo, and that the rustc, of the toolchain that is the user's default.
    let bin = toolchain.rustc.sysroot.join("bin");
    bpf.envs(toolchain.env()?).env("CARGO", bin.join("cargo")).env("RUSTC", bin.join("rustc"));
    bpf.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{ARCH}\""));
    bpf.current_dir(xtask::root());
    steps.run("cargo clippy for BPF", bpf)?;

    eprintln!("lint: clean");
    Ok(())
}
