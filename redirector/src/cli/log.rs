//! `redirector log`: how much the running agent writes to its log.

use std::process::ExitCode;

use hyper::Method;
use redirector::{failure::Failure, logs::Level};

use super::agent::{AgentAt, print};

/// How much.
#[derive(clap::Args)]
#[command(
    after_help = "It lasts until the agent ends: `log.level` of the configuration says how much it writes at first.

Exit code: 0 done; 3 no agent answers."
)]
pub struct Log {
    /// How much to write from now on; without one, show how much it is
    #[arg(value_enum)]
    level: Option<Level>,

    #[command(flatten)]
    agent: AgentAt,
}

impl Log {
    /// Does it.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let client = self.agent.client()?;
        let document = match self.level {
            None => client.ask(Method::GET, "/v1/log", None)?,
            Some(level) => client.ask(Method::PUT, &format!("/v1/log?level={}", level.word()), None)?,
        };
        print(&format!("{}\n", document["level"].as_str().unwrap_or_default()));
        Ok(ExitCode::SUCCESS)
    }
}
