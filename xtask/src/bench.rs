//! `cargo xtask bench`: what the programs cost, and what connections through them cost beside others.
//!
//! The measurements are benches of redirector, which need the same sandbox and tools as its tests. They print figures
//! and compare nothing with a limit: what a figure means depends on the machine and on what else it does.

use std::{ffi::OsString, process::Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::{build::cargo, sandbox, setup, steps::Steps, test::runner};

const BENCH: [&str; 5] = ["bench", "--package", "redirector", "--bench", "suites"];

/// The task.
pub fn run(arguments: &[OsString]) -> Result<()> {
    let mut steps = Steps::default();
    sandbox::check(&mut steps, "cargo xtask bench")?;
    setup::commands(&mut steps, setup::TESTS)?;
    setup::toolchain(&mut steps)?;

    steps.begin("build the measurements, and the agent with the programs in it, in release mode");
    let mut build = cargo();
    build.args(BENCH).arg("--no-run");
    steps.run("cargo bench --no-run", build)?;

    steps.begin("measure; what else this machine does meanwhile is in the figures");
    let mut bench = cargo();
    bench.args(BENCH).args(["--quiet", "--config", &runner()?, "--"]).args(arguments).stdin(Stdio::null());
    let status = bench.status().context("run cargo bench")?;
    ensure!(status.success(), "the measurements: {status}");
    Ok(())
}
