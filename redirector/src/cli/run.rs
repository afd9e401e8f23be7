//! `redirector run`: the agent in the foreground.

use redirector::{
    agent,
    datapath::AttachMode,
    failure::{Exit, Failure},
    host::NetfilterMode,
    routes::{Origin, Route},
    settings::{OnExit, Settings},
};

/// What the agent is told on the command line.
#[derive(clap::Args)]
pub struct Run {
    /// Interface whose incoming traffic is redirected: a name or a glob such as 'veth*'; may be repeated
    #[arg(long = "interface", short, value_name = "GLOB")]
    interfaces: Vec<String>,

    /// Route: [NAME:][tcp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop|reset]; may be repeated
    #[arg(long = "route", short, value_name = "ROUTE", long_help = ROUTE_HELP)]
    routes: Vec<String>,

    /// Kind of hook to attach to [default: auto]
    #[arg(long, value_enum)]
    attach: Option<AttachMode>,

    /// How to live with NAT on this host [default: auto]
    #[arg(long, value_enum)]
    netfilter: Option<NetfilterMode>,

    /// What stays when the agent ends [default: detach]
    #[arg(long, value_enum)]
    on_exit: Option<OnExit>,
}

const ROUTE_HELP: &str = "\
Route: [NAME:][tcp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop|reset]; may be repeated

  PORTS   N[-M]{,N[-M]}
  DEST    10.0.0.0/8 or [fd00::/8]; any destination where there is none
  TARGET  proxy:PORT (the listener at 127.0.0.1 and at ::1), proxy:ADDRESS:PORT,
          interface:NAME[ via ADDRESS] (every packet, past this host's own routes), pass, drop
  from    source prefixes; any source where there are none
  else    what a new connection gets when the target cannot take it (default: pass)

Examples:
  8080=proxy:15001
  web:10.96.0.0/12:80,8080-8089=proxy:15001 from 10.244.1.0/24 else drop
  10.96.0.0/12:22=pass

The longer destination prefix wins, then the longer source prefix, then the narrower port range.";

impl Run {
    /// Runs the agent until it is told to end.
    pub fn run(self) -> Result<(), Failure> {
        let settings = self.settings()?;
        // One thread, which is the one whose network namespace everything concerns.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::No, error))?;
        runtime.block_on(agent::run(settings))
    }

    /// The settings: a flag says more than its default.
    fn settings(self) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        if !self.interfaces.is_empty() {
            settings.interfaces.include = self.interfaces;
        }
        settings.routes.insert(Origin::CommandLine, parse_routes(&self.routes)?);
        settings.attach = self.attach.unwrap_or(settings.attach);
        settings.netfilter = self.netfilter.unwrap_or(settings.netfilter);
        settings.on_exit = self.on_exit.unwrap_or(settings.on_exit);
        Ok(settings)
    }
}

/// All routes, or all that is wrong with them.
pub fn parse_routes(texts: &[String]) -> Result<Vec<Route>, Failure> {
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
