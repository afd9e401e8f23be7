//! What `status` and `check` find, and how they say it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::failure::Exit;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and something is to be known about it.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Fail => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was looked at. Of `check` it is an anchor in docs/troubleshooting.md.
    pub id: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub fixes: Vec<String>,
    /// The code that a command exits with which finds nothing worse.
    pub exit: Exit,
    /// The same in fields, for `-o json`.
    pub facts: Value,
}

impl Finding {
    /// A thing that is as it should be.
    pub fn ok(id: &'static str, what: impl Into<String>) -> Self {
        let facts = Value::Null;
        Self { id, level: Level::Ok, what: what.into(), fixes: Vec::new(), exit: Exit::No, facts }
    }

    /// A thing to be known.
    pub fn warn(id: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::ok(id, what) }
    }

    /// A thing that does not work.
    pub fn fail(id: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::ok(id, what) }
    }

    /// A thing that could not be looked at, or that was and failed.
    pub fn failed(id: &'static str, failure: &crate::failure::Failure) -> Self {
        let finding = Self::fail(id, format!("{:#}", failure.error)).exit(failure.exit);
        failure.hint.iter().flat_map(|hint| hint.lines()).fold(finding, Self::fix)
    }

    /// Adds what to do about it.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// Sets the exit code.
    pub fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Adds fields.
    pub fn facts(self, facts: Value) -> Self {
        Self { facts, ..self }
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one document.
    Json,
}

/// Writes findings: a line for each, and below it what to do.
///
/// # Errors
///
/// Nobody reads what is written.
pub fn write(out: &mut impl Write, findings: &[Finding], format: Format) -> io::Result<()> {
    if format == Format::Json {
        let findings: Vec<_> = findings.iter().map(document).collect();
        return writeln!(out, "{:#}", json!({ "version": 1, "findings": findings }));
    }
    let width = findings.iter().map(|finding| finding.id.len()).max().unwrap_or_default();
    for Finding { id, level, what, fixes, .. } in findings {
        let style = level.style();
        let (word, mut lines) = (level.word(), what.lines());
        let first = lines.next().unwrap_or_default();
        writeln!(out, "{style}{word:<4}{style:#}  {id:<width$}  {first}")?;
        for line in lines {
            writeln!(out, "{:6}{:width$}  {line}", "", "")?;
        }
        for fix in fixes {
            writeln!(out, "{:6}{:width$}    fix: {fix}", "", "")?;
        }
    }
    Ok(())
}

fn document(finding: &Finding) -> Value {
    let mut document = json!({
        "id": finding.id,
        "level": finding.level.word().to_lowercase(),
        "what": finding.what,
        "fixes": finding.fixes,
    });
    if !finding.facts.is_null() {
        document["facts"] = finding.facts.clone();
    }
    document
}
