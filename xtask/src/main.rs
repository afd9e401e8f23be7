//! The tasks of this workspace: `cargo xtask --help`.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod docs;
mod kernels;
mod lint;
mod run;
mod sandbox;
mod setup;
mod steps;
mod test;

/// Builds, shows and tests redirector. What a task needs and does not find it installs, or says how to.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows redirection at work in network namespaces of its own, or runs the agent on this host.
    #[command(after_help = "Without ARGS nothing outside the demonstration's own namespaces is touched.")]
    Run {
        /// Keeps the demonstration up, and prints the commands to enter it, until Ctrl-C or the end of stdin.
        #[arg(long, conflicts_with = "args")]
        keep: bool,
        /// The agent to run, which is otherwise built.
        #[arg(long, hide = true)]
        agent: Option<PathBuf>,
        /// Runs the agent on this host instead, as `redirector run ARGS`.
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Runs every test, those with a real Envoy included, and the demonstration.
    Test {
        /// Runs the long tests for as long as they are meant to run.
        #[arg(long)]
        soak: bool,
        /// Arguments for `cargo test`, such as the name of a test; the demonstration is then left out.
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Measures the programs, and connections through them beside direct and iptables' ones.
    #[command(after_help = "The suites are programs, connections and closes; all of them without ARGS. \
        `-- --help` lists the rest.")]
    Bench {
        /// Suites, and options such as `--rounds 30`.
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Runs the demonstration, and tests, on Debian's kernels, each in an emulated machine.
    Kernels {
        /// Runs all tests of behaviour that need no Envoy, rather than those of what differs between kernels.
        #[arg(long)]
        all: bool,
        /// Packages of Debian's kernels, such as `linux-image-amd64`.
        #[arg(value_name = "PACKAGE")]
        packages: Vec<String>,
    },
    /// Checks the format, and lints the host's crates and the programs.
    Lint,
    /// Installs whatever the other tasks need.
    Setup,
    /// Builds the agent, with the programs in it, in release mode.
    Build {
        /// Builds it static, alone in a directory: what deploy/Dockerfile makes an image of.
        #[arg(long = "static")]
        is_static: bool,
    },
    /// Writes the manual pages and docs/command-line.md, as the command line generates them.
    Docs,
    /// Runs a command with mounts of its own; `test` runs each test through it.
    #[command(hide = true)]
    Sandbox {
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Run { keep, agent, args } if args.is_empty() => run::demonstrate(keep, agent),
        Task::Run { args, .. } => run::on_host(&args),
        Task::Test { soak, args } => test::run(soak, &args),
        Task::Bench { args } => bench::run(&args),
        Task::Kernels { all, packages } => kernels::run(all, &packages),
        Task::Lint => lint::run(),
        Task::Setup => setup::run(),
        Task::Build { is_static } => build::run(is_static),
        Task::Docs => docs::run(),
        Task::Sandbox { command } => sandbox::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}
