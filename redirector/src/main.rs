//! The command line.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use redirector::failure::Failure;
use tracing_subscriber::EnvFilter;

/// Sends chosen traffic to a proxy on the same node, in the kernel.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent in the foreground, until Ctrl-C or SIGTERM
    Run(cli::run::Run),
    /// Remove everything of ours that is left in this network namespace when no agent runs
    Cleanup(cli::cleanup::Cleanup),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Run(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Cleanup(command) => command.run(),
    }
}
