//! The command line.

mod cli;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use redirector::{failure::Failure, logs};

/// Sends chosen traffic to a proxy on the same node, in the kernel.
#[derive(Parser)]
#[command(name = "redirector", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Whether to colour what is printed: auto does so on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t)]
    color: Color,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent in the foreground, until Ctrl-C or SIGTERM
    Run(cli::run::Run),
    /// Look at the routes of the running agent, and change those that it was given this way
    Route(cli::route::RouteCommand),
    /// Look at what the running agent captures
    Interface(cli::interface::Interface),
    /// Show new connections, and what became of them
    Flow(cli::flow::FlowCommand),
    /// Say why a connection is, or is not, redirected
    Explain(cli::explain::Explain),
    /// Show or set how much the running agent writes to its log
    Log(cli::log::Log),
    /// Say whether this host can do what an agent will ask of it, and what stands in the way
    Check(cli::check::Check),
    /// Say how things stand: the agent, its programs, the proxies, the routes
    Status(cli::status::Status),
    /// Remove everything of ours that is left in this network namespace when no agent runs
    Cleanup(cli::cleanup::Cleanup),
    /// Write a shell's completions to stdout
    Completion(cli::completion::Completion),
    /// Say which build this is
    Version(cli::version::Version),
}

/// Whether to colour what is printed.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

fn main() -> ExitCode {
    logs::begin();
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    match arguments.command {
        Command::Run(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Route(command) => command.run(),
        Command::Interface(command) => command.run(),
        Command::Flow(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Cleanup(command) => command.run(),
        Command::Completion(command) => command.run(&mut Arguments::command()),
        Command::Version(command) => command.run(),
    }
}
