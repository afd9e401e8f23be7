//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use redirector::{
    agent::{self, RunSettings},
    datapath::AttachMode,
    failure::{Exit, Failure},
    routes::Route,
};
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
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    /// Interface whose incoming traffic is redirected: a name or a glob such as 'veth*'; may be repeated
    #[arg(long = "interface", short, value_name = "GLOB")]
    interfaces: Vec<String>,

    /// Route: [NAME:][tcp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop]; may be repeated
    #[arg(long = "route", short, value_name = "ROUTE", long_help = ROUTE_HELP)]
    routes: Vec<String>,

    /// Kind of hook to attach to
    #[arg(long, value_enum, default_value_t)]
    attach: AttachMode,

    /// What stays when the agent ends
    #[arg(long, value_enum, default_value_t)]
    on_exit: OnExit,
}

const ROUTE_HELP: &str = "\
Route: [NAME:][tcp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop]; may be repeated

  PORTS   N[-M]{,N[-M]}
  DEST    10.0.0.0/8 or [fd00::/8]; any destination where there is none
  TARGET  proxy:PORT (the listener at 127.0.0.1 and at ::1), proxy:ADDRESS:PORT, pass, drop
  from    source prefixes; any source where there are none
  else    what a new connection gets when the proxy cannot take it (default: pass)

Examples:
  8080=proxy:15001
  web:10.96.0.0/12:80,8080-8089=proxy:15001 from 10.244.1.0/24 else drop
  10.96.0.0/12:22=pass

The longer destination prefix wins, then the longer source prefix, then the narrower port range.";

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum OnExit {
    /// Detach everything; traffic then goes where it went before
    #[default]
    Detach,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Command::Run(Run { interfaces, routes, attach, on_exit: OnExit::Detach }) = arguments.command;
    let settings = RunSettings { interfaces, routes: parse_routes(&routes)?, attach };
    // One thread, which is the one whose network namespace everything concerns.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::No, error))?;
    runtime.block_on(agent::run(settings))
}

/// All routes, or all that is wrong with them.
fn parse_routes(texts: &[String]) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    let mut errors = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(route) => routes.push(route),
            Err(error) => errors.push(format!("{error}")),
        }
    }
    if errors.is_empty() {
        Ok(routes)
    } else {
        Err(Failure::new(Exit::Invalid, anyhow::anyhow!(errors.join("\n")))
            .hint("see `redirector run --help`"))
    }
}
