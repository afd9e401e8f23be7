//! Numbered steps on stderr, and long commands with progress whose output is shown only when they fail.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// How many lines of a failed command's output are shown: its end, where the cause is.
const LINES_SHOWN: usize = 200;

/// The steps of one task.
#[derive(Default)]
pub struct Steps {
    number: u32,
    /// Whether what is said now is the task's result, and so goes to stdout.
    pub result: bool,
}

impl Steps {
    /// Begins the next step: what is done, and why if that is not plain.
    pub fn begin(&mut self, what: &str) {
        self.number += 1;
        self.say(&format!("{}. {what}", self.number));
    }

    /// Says a thing that was found or done within the step.
    pub fn note(&self, text: &str) {
        self.say(&format!("   {text}"));
    }

    fn say(&self, text: &str) {
        if self.result {
            println!("{text}");
        } else {
            eprintln!("{text}");
        }
    }

    /// Runs a command to its end, with its latest line of output beside a spinner where there is a terminal.
    pub fn run(&self, what: &str, mut command: Command) -> Result<()> {
        let line = format!("{command:?}");
        let start = Instant::now();
        let (output, input) = io::pipe().context("make a pipe")?;
        command.stdin(Stdio::null()).stdout(input.try_clone().context("copy a pipe")?).stderr(input);
        let spinner = ProgressBar::new_spinner();
        spinner.set_style(ProgressStyle::with_template("   {spinner} {prefix} ({elapsed}) {wide_msg:.dim}")?);
        spinner.set_prefix(what.to_owned());
        if spinner.is_hidden() {
            eprintln!("   {what} ...");
            command.env("NO_COLOR", "1").env("TERM", "dumb");
        } else {
            spinner.enable_steady_tick(Duration::from_millis(120));
        }
        let mut child = command.spawn().with_context(|| format!("run {line}"))?;
        // The command holds the pipe's writing end; the output ends when the last copy is closed.
        drop(command);

        let mut lines = VecDeque::new();
        for text in BufReader::new(output).split(b'\n') {
            let text =
                String::from_utf8_lossy(&text.with_context(|| format!("read from {line}"))?).into_owned();
            spinner.set_message(text.trim().to_owned());
            lines.push_back(text);
            if lines.len() > LINES_SHOWN {
                lines.pop_front();
            }
        }
        let status = child.wait().with_context(|| format!("wait for {line}"))?;
        spinner.finish_and_clear();
        if !status.success() {
            for text in lines {
                eprintln!("   | {text}");
            }
            bail!("{what}: {status}\n  the command was: {line}");
        }
        self.note(&format!("{what}: done in {} s", start.elapsed().as_secs_f32().round()));
        Ok(())
    }
}
