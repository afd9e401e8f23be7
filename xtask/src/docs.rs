//! `cargo xtask docs`: what is generated of the command line. A test holds the files to it; here it writes them.

use anyhow::Result;

use crate::{build::cargo, setup, steps::Steps};

/// The task.
pub fn run() -> Result<()> {
    let mut steps = Steps::default();
    setup::toolchain(&mut steps)?;
    steps.begin("write docs/man and docs/command-line.md");
    let mut test = cargo();
    test.args(["test", "--package", "redirector", "--bin", "redirector", "documents"]);
    test.env("REDIRECTOR_WRITE_DOCS", "1");
    steps.run("cargo test", test)
}
