//! `cargo xtask test`: every test, and the demonstration.
//!
//! Plain `cargo test`, not nextest: tests enter namespaces on threads of their own, so they need no process each, and
//! what everybody has behaves the same everywhere.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    build::{Profile, cargo, static_agent},
    run, sandbox, setup,
    steps::Steps,
};

/// The task.
pub fn run(soak: bool, arguments: &[OsString]) -> Result<()> {
    let mut steps = Steps::default();
    sandbox::check(&mut steps, "cargo xtask test")?;
    setup::commands(&mut steps, setup::TESTS)?;
    let envoy = setup::envoy(&mut steps)?;
    let promtool = setup::promtool(&mut steps)?;
    let static_agent = static_agent(&mut steps, Profile::Debug)?;

    steps.begin("build the tests, and the agent with the programs in it");
    let mut build = cargo();
    build.args(["test", "--no-run"]).args(arguments);
    steps.run("cargo test --no-run", build)?;

    steps.begin("run the tests, each binary with mounts of its own");
    let mut test = cargo();
    test.args(["test", "--no-fail-fast", "--config", &runner()?]).args(arguments);
    // Shows what passing tests print too, and so which of them were skipped.
    if !arguments.iter().any(|argument| argument == "--") {
        test.arg("--");
    }
    test.arg("--show-output");
    // Under CI a test that cannot run here fails; it does not pass by being skipped.
    test.env("CI", "1").env("REDIRECTOR_ENVOY", envoy).env("REDIRECTOR_STATIC", static_agent);
    test.env("REDIRECTOR_PROMTOOL", promtool);
    if soak {
        test.env("REDIRECTOR_SOAK", "1");
    }
    let start = Instant::now();
    let mut counts = count(test)?;
    steps.note(&format!("the tests: done in {} s", start.elapsed().as_secs_f32().round()));
    ensure!(counts.passed + counts.failed > 0, "no test ran");

    if arguments.is_empty() && counts.failed == 0 {
        eprintln!();
        match run::demonstrate(false, None) {
            Ok(()) => counts.passed += 1,
            Err(err) => {
                eprintln!("xtask: the demonstration: {err:#}");
                counts.failed += 1;
            }
        }
    }
    // The form that tools which read a test's log know.
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    ensure!(counts.failed == 0, "{} failed", counts.failed);
    Ok(())
}

/// Runs the tests, shows what they print, and adds up the result lines of their binaries.
fn count(mut test: Command) -> Result<Counts> {
    let mut child = test.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run cargo test")?;
    let output = child.stdout.take().context("read from cargo test")?;
    let mut log = Log::default();
    for line in BufReader::new(output).lines() {
        if let Some(line) = log.read(&line.context("read from cargo test")?) {
            println!("{line}");
        }
    }
    let success = child.wait().context("wait for cargo test")?.success();
    let mut counts = log.counts();
    // A test binary that dies has no result line.
    if !success && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// What became of the tests.
#[derive(Default)]
pub struct Counts {
    /// They ran, and what they claim holds.
    pub passed: u32,
    /// It does not hold.
    pub failed: u32,
    /// They did not run.
    pub skipped: u32,
}

/// What test binaries print, line by line.
#[derive(Default)]
pub struct Log {
    counts: Counts,
    /// Tests that passed, and said that they were skipped.
    said_skipped: u32,
    /// Within what passing tests printed, of which no more is shown than why a test was skipped: the test.
    passing: Option<String>,
}

impl Log {
    /// Takes the next line, and returns what is to be shown of it.
    pub fn read(&mut self, line: &str) -> Option<String> {
        let result = line.strip_prefix("test result: ");
        if line == "successes:" {
            self.passing = Some(String::new());
        } else if line == "failures:" || result.is_some() {
            self.passing = None;
        }
        let Some(test) = &mut self.passing else {
            self.counts.add(result.unwrap_or_default());
            return Some(line.to_owned());
        };
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(test);
        } else if line.starts_with("skipped: ") && !test.is_empty() {
            let shown = format!("test {test} ... {line}");
            self.said_skipped += 1;
            // One that says so twice is skipped once.
            test.clear();
            return Some(shown);
        }
        None
    }

    /// What became of the tests so far.
    pub fn counts(&self) -> Counts {
        let Counts { passed, failed, skipped } = self.counts;
        Counts { passed: passed - self.said_skipped, failed, skipped: skipped + self.said_skipped }
    }
}

impl Counts {
    /// Adds a binary's result, such as `ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`.
    fn add(&mut self, result: &str) {
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let number = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// What makes cargo run every binary in a sandbox.
pub fn runner() -> Result<String> {
    let sandbox = env::current_exe().context("find this program's file")?;
    Ok(format!("target.{}.runner=[{:?}, \"sandbox\"]", host()?, sandbox.display().to_string()))
}

/// The target that cargo builds for here, such as `x86_64-unknown-linux-gnu`.
pub fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).arg("-vV").current_dir(xtask::root()).output().context("run rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("find the host in what rustc -vV says")?.to_owned())
}
