//! Measurements: `cargo xtask bench`. Nothing here passes or fails; figures are printed, and goals beside them.
//!
//! Modes that are compared take turns, in another order each round, so that whatever else the machine does hits all of
//! them alike. Of each kind the control is measured twice: where the two differ, so does everything by as much.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

mod changes;
mod closes;
mod connections;
mod figures;
mod interfaces;
#[path = "../../tests/verdicts/packet.rs"]
#[allow(dead_code, reason = "the verdict table uses the rest")]
mod packet;
mod pin;
mod programs;
mod raw;
#[path = "../../tests/verdicts/shapes.rs"]
#[allow(dead_code, reason = "the verdict table uses the rest")]
mod shapes;
#[path = "../../tests/support/mod.rs"]
mod support;

/// Measures the programs and the connections that they steer.
#[derive(Parser)]
struct Arguments {
    /// Which suites; all if none.
    suites: Vec<Suite>,
    /// Rounds of each suite that has rounds.
    #[arg(long)]
    rounds: Option<u32>,
    /// A hundredth of the work: to see that everything runs. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// The programs by themselves: nanoseconds a packet.
    Programs,
    /// Connections through them, beside direct ones and those by iptables.
    Connections,
    /// Connections that the server closes: whether any fails, and how many there are in a second.
    Closes,
    /// Interfaces that come: how long until they are captured.
    Interfaces,
    /// Routes that change, and many of them: time and memory.
    Changes,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("bench: needs root with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF");
        return ExitCode::FAILURE;
    }
    let suites = if arguments.suites.is_empty() { Suite::value_variants() } else { &arguments.suites };
    for suite in suites {
        match suite {
            Suite::Programs => programs::run(arguments.rounds.unwrap_or(15), arguments.quick),
            Suite::Connections => connections::run(arguments.rounds.unwrap_or(12), arguments.quick),
            Suite::Closes => closes::run(arguments.quick),
            Suite::Interfaces => interfaces::run(arguments.quick),
            Suite::Changes => changes::run(arguments.quick),
        }
    }
    ExitCode::SUCCESS
}
