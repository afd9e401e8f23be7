//! `redirector interface`: what the running agent captures.

use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;
use redirector::{failure::Failure, finding::Format};
use serde::Deserialize;

use super::agent::{AgentAt, Row, print_document, print_table};

/// What to do with interfaces.
#[derive(clap::Args)]
pub struct Interface {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every interface that is captured
    List {
        #[command(flatten)]
        agent: AgentAt,
        /// How to write it
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
}

#[derive(Deserialize)]
struct Listed {
    index: u32,
    name: String,
    hook: String,
    program: String,
    link: String,
}

impl Interface {
    /// Does it.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Command::List { agent, output } = self.command;
        let mut document = agent.client()?.ask(Method::GET, "/v1/interfaces", None)?;
        if output == Format::Json {
            print_document(&document);
            return Ok(ExitCode::SUCCESS);
        }
        let listed: Vec<Listed> = super::route::listed(document["interfaces"].take())?;
        let rows: Vec<_> = listed
            .into_iter()
            .map(|Listed { index, name, hook, program, link }| Row {
                cells: vec![name, hook, program, link, index.to_string()],
                notes: Vec::new(),
            })
            .collect();
        print_table(&["NAME", "HOOK", "PROGRAM", "LINK", "INDEX"], 1, &rows);
        Ok(ExitCode::SUCCESS)
    }
}
