//! `redirector status`: how things stand, in one screen.

use std::process::ExitCode;

use redirector::{
    failure::{Exit, Failure},
    finding::{self, Format, Level},
    status,
};

use super::agent::AgentAt;

/// How to show it.
#[derive(clap::Args)]
#[command(after_help = "Exit code: 0 where every line is OK, 1 where one is not.")]
pub struct Status {
    /// How to write it
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    agent: AgentAt,
}

impl Status {
    /// Looks, and says what is there.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let findings = status::look(&self.agent.state_dir()?)?;
        // Whoever closes the pipe has seen enough.
        let _ = finding::write(&mut anstream::stdout(), &findings, self.output);
        let well = findings.iter().all(|finding| finding.level == Level::Ok);
        Ok(if well { ExitCode::SUCCESS } else { Exit::No.into() })
    }
}
