//! `redirector flow`: new connections, and what became of them.

use std::{
    fmt::Write as _,
    io::{self, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use clap::Subcommand;
use hyper::Method;
use redirector::{api::escape, failure::Failure, flows::clock};
use serde::Deserialize;
use serde_json::Value;

use super::agent::{AgentAt, print_document};

/// What to do with flows.
#[derive(clap::Args)]
#[command(
    after_help = "Each new connection that a route decides is told of, and each to a port that a route names, also where \
its addresses do not match; at most events.per_second of them, and how many were not. A retransmitted SYN is told of again.

Exit code: 0 done; 3 no agent answers or it ends, 5 a filter is wrong."
)]
pub struct FlowCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the last new connections: the agent keeps 4096
    List {
        /// Show no more than the last of them
        #[arg(long, value_name = "NUMBER")]
        last: Option<usize>,
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        agent: AgentAt,
        /// How to write them
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Show new connections as they come, until Ctrl-C
    Watch {
        /// Begin with the last of those before
        #[arg(long, value_name = "NUMBER")]
        last: Option<usize>,
        /// Show connections to ports that no route names too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        agent: AgentAt,
        /// How to write them
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
}

/// How flows are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: a line each
    #[default]
    Table,
    /// For programs: one document; of what has no end a document each
    Json,
    /// For programs: a document each, on a line of its own
    Jsonl,
}

/// Which connections; values with commas between them are one or the other.
#[derive(clap::Args)]
struct Filters {
    /// Opened by these addresses or prefixes
    #[arg(long, value_name = "PREFIX,…", help_heading = "Filters")]
    from: Option<String>,
    /// Opened by others
    #[arg(long, value_name = "PREFIX,…", help_heading = "Filters")]
    not_from: Option<String>,
    /// To these addresses or prefixes
    #[arg(long, value_name = "PREFIX,…", help_heading = "Filters")]
    to: Option<String>,
    /// To others
    #[arg(long, value_name = "PREFIX,…", help_heading = "Filters")]
    not_to: Option<String>,
    /// To these ports or ranges
    #[arg(long, value_name = "PORT,…", help_heading = "Filters")]
    port: Option<String>,
    /// To others
    #[arg(long, value_name = "PORT,…", help_heading = "Filters")]
    not_port: Option<String>,
    /// With these verdicts: passed, steered, forwarded, dropped, reset
    #[arg(long, value_name = "VERDICT,…", help_heading = "Filters")]
    verdict: Option<String>,
    /// With others
    #[arg(long, value_name = "VERDICT,…", help_heading = "Filters")]
    not_verdict: Option<String>,
    /// For these reasons: docs/metrics.md has them
    #[arg(long, value_name = "REASON,…", help_heading = "Filters")]
    reason: Option<String>,
    /// For others
    #[arg(long, value_name = "REASON,…", help_heading = "Filters")]
    not_reason: Option<String>,
    /// Decided by these routes
    #[arg(long, value_name = "NAME,…", help_heading = "Filters")]
    route: Option<String>,
    /// Decided by others, or by none
    #[arg(long, value_name = "NAME,…", help_heading = "Filters")]
    not_route: Option<String>,
    /// By these interfaces
    #[arg(long, value_name = "NAME,…", help_heading = "Filters")]
    interface: Option<String>,
    /// By others
    #[arg(long, value_name = "NAME,…", help_heading = "Filters")]
    not_interface: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Flow(Flow),
    Lost { lost: u64, cause: String },
}

#[derive(Deserialize)]
struct Flow {
    time: String,
    interface: String,
    protocol: String,
    source: String,
    destination: String,
    verdict: String,
    reason: String,
    route: Option<String>,
    target: Option<String>,
}

impl FlowCommand {
    /// Does it.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::List { last, filters, agent, output } => {
                let path = filters.path("/v1/flows", last, false);
                list(agent.client()?.ask(Method::GET, &path, None)?, output)?;
            }
            Command::Watch { last, all, filters, agent, output } => {
                let path = filters.path("/v1/flows/watch", last, all);
                let mut out = anstream::stdout();
                let mut wrong = None;
                agent.client()?.watch(&path, |line| match show(&mut out, line, output) {
                    Ok(Ok(())) => ControlFlow::Continue(()),
                    // Whoever closes the pipe has seen enough.
                    Ok(Err(_)) => ControlFlow::Break(()),
                    Err(error) => {
                        wrong = Some(error);
                        ControlFlow::Break(())
                    }
                })?;
                if let Some(wrong) = wrong {
                    return Err(wrong);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(mut document: Value, output: Format) -> Result<(), Failure> {
    if output == Format::Json {
        print_document(&document);
        return Ok(());
    }
    let mut out = io::BufWriter::new(anstream::stdout().lock());
    let flows: Vec<Value> = super::route::listed(document["flows"].take())?;
    if flows.is_empty() && output == Format::Table {
        eprintln!(
            "none yet, of those asked for: a connection is told of when it comes to a port that a route names"
        );
    }
    for mut flow in flows {
        if output == Format::Jsonl {
            // What stands alone says of which version it is.
            let mut alone = serde_json::Map::from_iter([("version".to_owned(), 1.into())]);
            alone.append(flow.as_object_mut().unwrap_or(&mut serde_json::Map::new()));
            flow = alone.into();
        }
        if show(&mut out, &flow.to_string(), output)?.is_err() {
            return Ok(());
        }
    }
    // As above.
    let _ = out.flush();
    Ok(())
}

/// Writes a line; the inner error is that nobody reads it.
fn show(out: &mut impl Write, line: &str, output: Format) -> Result<io::Result<()>, Failure> {
    if output != Format::Table {
        return Ok(writeln!(out, "{line}"));
    }
    let value = serde_json::from_str(line).unwrap_or_default();
    Ok(match super::route::understand(value)? {
        Line::Flow(flow) => writeln!(out, "{flow}"),
        Line::Lost { lost, cause } => {
            let why = match &*cause {
                "rate" => "they were more than events.per_second",
                "full" => "they came faster than the agent reads",
                _ => "they came faster than they were taken here",
            };
            writeln!(out, "             {lost} connections were not told of: {why}")
        }
    })
}

/// As `14:02:11.402 veth12  10.244.1.8:41822 -> 10.96.12.4:80 tcp  steered  proxy 127.0.0.1:15001  route=web`.
impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { time, interface, protocol, source, destination, verdict, reason, .. } = self;
        let time = clock(time);
        write!(f, "{time} {interface}  {source} -> {destination} {protocol}  {verdict}  ")?;
        match &self.target {
            Some(target) => write!(f, "{reason} {target}")?,
            None => write!(f, "reason={reason}")?,
        }
        self.route.iter().try_for_each(|route| write!(f, "  route={route}"))
    }
}

impl Filters {
    fn path(&self, path: &str, last: Option<usize>, all: bool) -> String {
        let filters = [
            ("from", &self.from),
            ("not_from", &self.not_from),
            ("to", &self.to),
            ("not_to", &self.not_to),
            ("port", &self.port),
            ("not_port", &self.not_port),
            ("verdict", &self.verdict),
            ("not_verdict", &self.not_verdict),
            ("reason", &self.reason),
            ("not_reason", &self.not_reason),
            ("route", &self.route),
            ("not_route", &self.not_route),
            ("interface", &self.interface),
            ("not_interface", &self.not_interface),
        ];
        let mut query = String::new();
        for (name, values) in filters {
            if let Some(values) = values {
                // A string takes everything.
                let _ = write!(query, "&{name}={}", escape(values));
            }
        }
        if let Some(last) = last {
            let _ = write!(query, "&last={last}");
        }
        if all {
            query += "&all=true";
        }
        format!("{path}?{}", query.trim_start_matches('&'))
    }
}
