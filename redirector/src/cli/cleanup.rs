//! `redirector cleanup`: takes away what is left when no agent runs.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use redirector::{cleanup, failure::Failure};

/// What to take away.
#[derive(clap::Args)]
pub struct Cleanup {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Cleanup {
    /// Removes everything of ours in this network namespace.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let _lock = if self.dry_run { None } else { Some(cleanup::lock()?) };
        let things = cleanup::find()?;
        // Whoever closes the pipe does not keep anything from being removed.
        let mut out = io::stdout();
        let mut say = |line: String| drop(writeln!(out, "{line}"));
        if things.is_empty() {
            say("nothing of ours is here".to_owned());
        }
        let mut result = Ok(());
        for thing in &things {
            if self.dry_run {
                say(format!("would remove {thing}"));
                continue;
            }
            // One that stays does not keep the others.
            match thing.remove() {
                Ok(()) => say(format!("removed {thing}")),
                Err(error) => result = result.and(Err(error)),
            }
        }
        Ok(result.map(|()| ExitCode::SUCCESS)?)
    }
}
