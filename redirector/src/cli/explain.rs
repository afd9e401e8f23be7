//! `redirector explain`: why a connection is, or is not, redirected.

use std::{fmt::Write as _, process::ExitCode};

use hyper::Method;
use redirector::{
    api::escape,
    failure::{Exit, Failure},
    finding::Format,
};
use serde::Deserialize;
use serde_json::Value;

use super::agent::{AgentAt, print, print_document};

/// Which connection.
#[derive(clap::Args)]
#[command(
    after_help = "The running agent walks the decision step by step, and has the loaded program decide the first packet
of this very connection, which exists or not. Nothing is sent, and no counter moves.

Exit code: 0 where a route redirects, drops or resets it, 1 where it passes; 3 no agent answers, 4 no such interface."
)]
pub struct Explain {
    /// The connection's protocol
    #[arg(value_enum)]
    protocol: Protocol,

    /// Who opens it: an address, with a port where it matters
    #[arg(value_name = "SRC[:PORT]")]
    source: String,

    /// Where it goes; an IPv6 address stands in brackets
    #[arg(value_name = "DST:PORT")]
    destination: String,

    /// The interface of this host that it comes in by
    #[arg(long, value_name = "NAME")]
    interface: String,

    #[command(flatten)]
    agent: AgentAt,

    /// How to write it
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

#[derive(Deserialize)]
struct Explained {
    steps: Vec<Step>,
    #[serde(flatten)]
    outcome: Outcome,
    program: Option<Program>,
}

#[derive(Deserialize)]
struct Step {
    what: String,
    found: String,
    so: String,
}

#[derive(Deserialize)]
struct Outcome {
    verdict: String,
    reason: Option<String>,
    route: Option<RouteName>,
    target: Option<String>,
}

#[derive(Deserialize)]
struct RouteName {
    name: String,
}

#[derive(Deserialize)]
struct Program {
    name: String,
    agrees: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Explain {
    /// Asks, and shows the answer.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let path = format!(
            "/v1/explain?protocol={protocol}&source={}&destination={}&interface={}",
            escape(&self.source),
            escape(&self.destination),
            escape(&self.interface)
        );
        let document = self.agent.client()?.ask(Method::GET, &path, None)?;
        let redirects = document["verdict"] != "passed";
        match self.output {
            Format::Json => print_document(&document),
            Format::Table => print(&table(document)?),
        }
        Ok(if redirects { ExitCode::SUCCESS } else { Exit::No.into() })
    }
}

fn table(document: Value) -> Result<String, Failure> {
    let Explained { steps, outcome, program } = super::route::understand(document)?;
    let width = |cell: fn(&Step) -> &String| {
        steps.iter().map(|step| cell(step).chars().count()).max().unwrap_or_default()
    };
    let (what, found) = (width(|step| &step.what), width(|step| &step.found));
    let mut text = String::new();
    for (number, step) in (1..).zip(&steps) {
        // A string takes everything.
        let _ = writeln!(text, "{number:>2} {:what$}  {:found$}  {}", step.what, step.found, step.so);
    }
    let _ = write!(text, "verdict {outcome}; ");
    let _ = match program {
        None => writeln!(text, "no program of ours was asked"),
        Some(Program { agrees: true, .. }) => writeln!(text, "the loaded program says the same"),
        Some(Program { name, outcome, .. }) => {
            writeln!(
                text,
                "but the loaded program {name} says {outcome}: ask again, and if it stays so it is a fault"
            )
        }
    };
    Ok(text)
}

/// `steered to 127.0.0.1:15001 (route web)`, or `passed (no-route)`.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.verdict)?;
        if let Some(target) = &self.target {
            write!(f, " to {target}")?;
        }
        // Where the target says why, the reason would say it again.
        let reason = self.reason.as_deref().filter(|_| self.target.is_none());
        match (reason, &self.route) {
            (None, None) => Ok(()),
            (None, Some(route)) => write!(f, " (route {})", route.name),
            (Some(reason), None) => write!(f, " ({reason})"),
            (Some(reason), Some(route)) => write!(f, " ({reason}, route {})", route.name),
        }
    }
}
