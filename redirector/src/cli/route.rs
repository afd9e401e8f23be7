//! `redirector route`: the routes of the running agent.

mod listed;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use hyper::Method;
use redirector::{
    api::{Client, escape},
    config::{self, RoutePlaces, Syntax},
    failure::{Exit, Failure},
    finding::Format,
    routes::Route,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::agent::{AgentAt, print, print_document, print_table};
use listed::Listed;

/// What to do with routes.
#[derive(clap::Args)]
#[command(after_help = "Exit code: 0 done; 3 no agent answers, 4 no such route, 5 invalid or refused, \
6 not permitted, 8 timed out.")]
pub struct RouteCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every route, whoever gave it, and where others win
    List {
        #[command(flatten)]
        agent: AgentAt,
        /// How to write it
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Show all of one route
    Get {
        /// The route's name
        name: String,
        #[command(flatten)]
        agent: AgentAt,
        /// How to write it
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Add routes, none of whose names was added before
    Add {
        /// Routes, written as for `redirector run --route`
        #[arg(required = true, value_name = "ROUTE")]
        routes: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Take away routes that were added or applied, all of these or none
    Remove {
        /// The routes' names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Create or replace the routes of a file; without one, have the agent read its configuration again
    Apply {
        /// File of [[route]] in TOML, or of the same in JSON; - for stdin
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Take away what was added or applied before and is not in the file
        #[arg(long, requires = "file")]
        replace: bool,
        #[command(flatten)]
        change: Change,
    },
}

const ROUTES: &str = "/v1/routes";
const RELOAD: &str = "/v1/reload";

/// How to change something.
#[derive(clap::Args)]
struct Change {
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    agent: AgentAt,
}

impl RouteCommand {
    /// Does it.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::List { agent, output } => list(&agent.client()?, output),
            Command::Get { name, agent, output } => get(&agent.client()?, &name, output),
            Command::Add { routes, change } => {
                let routes = super::run::parse_routes(&routes)?;
                let document = config::write_routes(&routes).context("write the routes as JSON")?;
                change.ask(Method::POST, ROUTES, "", Some(document), None)
            }
            Command::Remove { names, change } => {
                let document = json!({ "version": 1, "names": names }).to_string().into_bytes();
                change.ask(Method::DELETE, ROUTES, "", Some(document), None)
            }
            Command::Apply { file: None, change, .. } => change.ask(Method::POST, RELOAD, "", None, None),
            Command::Apply { file: Some(file), replace, change } => {
                let (routes, places) = read(&file)?;
                let document = config::write_routes(&routes).context("write the routes as JSON")?;
                let replace = if replace { "&replace=true" } else { "" };
                change.ask(Method::PUT, ROUTES, replace, Some(document), Some(&places))
            }
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

fn list(client: &Client, output: Format) -> Result<(), Failure> {
    let mut document = client.ask(Method::GET, "/v1/routes", None)?;
    if output == Format::Json {
        print_document(&document);
        return Ok(());
    }
    let routes: Vec<Listed> = listed(document["routes"].take())?;
    let rows = routes.iter().map(Listed::row).collect::<Result<Vec<_>, _>>()?;
    let titles = ["NAME", "ORIGIN", "MATCH", "TARGET", "AVAILABLE", "CONNECTIONS", "UNAVAILABLE", "LOST"];
    print_table(&titles, 3, &rows);
    Ok(())
}

fn get(client: &Client, name: &str, output: Format) -> Result<(), Failure> {
    let mut document = client.ask(Method::GET, &format!("/v1/routes/{}", escape(name)), None)?;
    if output == Format::Json {
        print_document(&document);
        return Ok(());
    }
    for route in listed::<Listed>(document["routes"].take())? {
        print(&route.details()?);
    }
    Ok(())
}

impl Change {
    /// Asks for a change, and says what it did.
    fn ask(
        self,
        method: Method,
        path: &str,
        more: &str,
        document: Option<Vec<u8>>,
        places: Option<&RoutePlaces>,
    ) -> Result<(), Failure> {
        let path = format!("{path}?dry_run={}{more}", self.dry_run);
        let answer = self.agent.client()?.try_ask(method, &path, document)?;
        let changed = answer.result(|name| Some(places?.show(name)?.to_string()))?;
        let mut nothing = true;
        for (key, word) in [("added", "add"), ("replaced", "replace"), ("removed", "remove")] {
            for name in changed[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
                nothing = false;
                print(&if self.dry_run {
                    format!("would {word} {name}\n")
                } else {
                    format!("{key} {name}\n")
                });
            }
        }
        if nothing {
            eprintln!("nothing to change");
        }
        let restart = changed["restart"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let restart: Vec<_> = restart.collect();
        if !restart.is_empty() {
            eprintln!("changed in the files, and in force after a restart only: {}", restart.join(", "));
        }
        Ok(())
    }
}

/// The routes of a file, or of stdin, and where they stand.
fn read(file: &Path) -> Result<(Vec<Route>, RoutePlaces), Failure> {
    /// What the agent takes, in bytes.
    const MOST: u64 = 32 << 20;
    let (name, source): (&Path, Box<dyn Read>) = match file == Path::new("-") {
        true => (Path::new("stdin"), Box::new(io::stdin())),
        false => (file, Box::new(File::open(file).map_err(|error| unreadable(file, &error))?)),
    };
    let mut bytes = Vec::new();
    source.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > MOST {
        let error = anyhow!("read {}: longer than {} MiB", name.display(), MOST >> 20);
        return Err(Failure::new(Exit::Invalid, error));
    }
    let syntax = Syntax::of(&bytes);
    Ok(config::routes(name, bytes, syntax)?)
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        _ => Exit::No,
    };
    Failure::new(exit, anyhow!("read {}: {error}", file.display()))
}

/// What a document lists.
pub fn listed<T: DeserializeOwned>(value: Value) -> Result<Vec<T>, Failure> {
    understand(value)
}

/// What a document says.
pub fn understand<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| unknown(error.into()))
}

fn unknown(error: anyhow::Error) -> Failure {
    Failure::new(Exit::No, error.context("understand what the agent answers"))
        .hint("it may be of another version than this command")
}
