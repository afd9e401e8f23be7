//! `cargo xtask test`: every test, and the demonstration.
//!
//! Plain `cargo test`, not nextest: tests enter namespaces on threads of their own, so they need no process each, and
//! what everybody has behaves the same everywhere.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{build::cargo, run, sandbox, setup, steps::Steps};

/// The task.
pub fn run(soak: bool, arguments: &[OsString]) -> Result<()> {
    let mut steps = Steps::default();
    sandbox::check(&mut steps, "cargo xtask test")?;
    setup::commands(&mut steps, setup::TESTS)?;
    let envoy = setup::envoy(&mut steps)?;
    setup::toolchain(&mut steps)?;

    steps.begin("run the tests, each binary with mounts of its own");
    let sandbox = env::current_exe().context("find this program's file")?;
    let runner = format!("target.{}.runner=[{:?}, \"sandbox\"]", host()?, sandbox.display().to_string());
    let mut test = cargo();
    test.args(["test", "--no-fail-fast", "--config", &runner]).args(arguments);
    // Under CI a test that cannot run here fails; it does not pass by being skipped.
    test.env("CI", "1").env("REDIRECTOR_ENVOY", envoy);
    if soak {
        test.env("REDIRECTOR_SOAK", "1");
    }
    let counts = count(test)?;
    println!("tests: {} passed, {} failed, {} ignored", counts.passed, counts.failed, counts.ignored);
    ensure!(counts.success, "tests failed");
    ensure!(counts.passed > 0, "no test ran");

    if arguments.is_empty() {
        eprintln!();
        run::demonstrate(false, None).context("the demonstration")?;
    }
    println!("test: everything passed");
    Ok(())
}

/// What became of the tests.
#[derive(Default)]
struct Counts {
    success: bool,
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// Runs the tests, shows what they print, and adds up the result lines of their binaries.
fn count(mut test: Command) -> Result<Counts> {
    let mut child = test.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run cargo test")?;
    let output = child.stdout.take().context("read from cargo test")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("read from cargo test")?;
        println!("{line}");
        // test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
        let Some((_, result)) = line.split_once("test result: ") else { continue };
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, what] = [pair[0], pair[1]];
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.ignored += number,
                _ => {}
            }
        }
    }
    counts.success = child.wait().context("wait for cargo test")?.success();
    Ok(counts)
}

/// The target that cargo builds for here, such as `x86_64-unknown-linux-gnu`.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).arg("-vV").current_dir(xtask::root()).output().context("run rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("find the host in what rustc -vV says")?.to_owned())
}
