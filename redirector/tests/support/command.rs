//! Commands that come to an end by themselves: what they print and their exit code.

use std::process::Command;

use super::{Netns, World, agent::BINARY};

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl World {
    /// Runs `redirector` in the node, with arguments that have no spaces.
    #[track_caller]
    pub fn redirector(&self, arguments: &str) -> Outcome {
        let mut command = self.node.command(BINARY);
        command.args(arguments.split_whitespace());
        Outcome::of(command)
    }

    /// The same by root with these capabilities only.
    #[track_caller]
    pub fn redirector_with(&self, capabilities: &[&str], arguments: &str) -> Outcome {
        let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        let mut command = self.node.command("setpriv");
        command.args([format!("--bounding-set=-all{set}"), "--inh-caps=-all".to_owned(), "--".to_owned()]);
        command.arg(BINARY).args(arguments.split_whitespace());
        Outcome::of(command)
    }
}

impl Outcome {
    /// Runs it to its end.
    #[track_caller]
    pub fn of(mut command: Command) -> Self {
        let output = command.output().expect("run a command");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
        let code = output.status.code().expect("it ends by itself");
        let outcome = Self { code, stdout: text(output.stdout), stderr: text(output.stderr) };
        println!("$ {command:?} -> {}\n{}{}", outcome.code, outcome.stdout, outcome.stderr);
        outcome
    }

    /// Asserts its exit code.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "exit code of {self:#?}");
        self
    }

    /// Asserts that stdout has a line with all these words.
    #[track_caller]
    pub fn assert_says(&self, words: &[&str]) -> &Self {
        assert!(self.line(words).is_some(), "no line with {words:?} in:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that stdout has no line with all these words.
    #[track_caller]
    pub fn assert_does_not_say(&self, words: &[&str]) -> &Self {
        assert_eq!(self.line(words), None, "in:\n{}", self.stdout);
        self
    }

    /// The first line of stdout with all these words.
    pub fn line(&self, words: &[&str]) -> Option<&str> {
        self.stdout.lines().find(|line| words.iter().all(|word| line.contains(word)))
    }
}

/// Runs a line that a command has told a user to type.
#[track_caller]
pub fn paste(netns: &Netns, line: &str) {
    netns.output(line);
}
