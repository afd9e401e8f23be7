//! `redirector run`: the agent in the foreground.

use std::{path::PathBuf, time::Duration};

use redirector::{
    agent,
    config::{self, numbers},
    datapath::AttachMode,
    failure::{Exit, Failure},
    host::NetfilterMode,
    logs,
    routes::{Origin, Protected, Route},
    settings::{InterfaceGlobs, MetricsListen, Number, OnExit, Settings},
};

/// What the agent is told on the command line, or else by the environment.
#[derive(clap::Args)]
pub struct Run {
    /// Configuration file; conf.d/*.toml beside it is read too [default: /etc/redirector/redirector.toml]
    #[arg(long, env = "REDIRECTOR_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Interface whose incoming traffic is redirected: a name or a glob such as 'veth*'; may be repeated
    #[arg(long = "interface", short, env = "REDIRECTOR_INTERFACES", hide_env_values = true)]
    #[arg(value_name = "GLOB", value_delimiter = ',')]
    interfaces: Vec<String>,

    /// Route: [NAME:][tcp/|udp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop|reset]; may be repeated
    #[arg(long = "route", short, env = "REDIRECTOR_ROUTES", hide_env_values = true)]
    #[arg(value_name = "ROUTE", value_delimiter = '\n', long_help = ROUTE_HELP)]
    routes: Vec<String>,

    /// Kind of hook to attach to [default: auto]
    #[arg(long, value_enum, env = "REDIRECTOR_ATTACH", hide_env_values = true)]
    attach: Option<AttachMode>,

    /// How to live with NAT on this host [default: auto]
    #[arg(long, value_enum, env = "REDIRECTOR_NETFILTER", hide_env_values = true)]
    netfilter: Option<NetfilterMode>,

    /// What stays when the agent ends [default: detach]
    #[arg(long, value_enum, env = "REDIRECTOR_ON_EXIT", hide_env_values = true)]
    on_exit: Option<OnExit>,

    /// Mark of steered packets: one bit, or auto [default: 0x2000]
    #[arg(long, env = "REDIRECTOR_MARK", hide_env_values = true, value_name = "BIT")]
    #[arg(value_parser = |text: &str| numbers::parse(text, numbers::mark))]
    mark: Option<Number>,

    /// Routing table for steered packets, or auto [default: 8200]
    #[arg(long, env = "REDIRECTOR_TABLE", hide_env_values = true, value_name = "NUMBER")]
    #[arg(value_parser = |text: &str| numbers::parse(text, numbers::table))]
    table: Option<Number>,

    /// Priority of the first of three ip rules, or auto [default: 90]
    #[arg(long, env = "REDIRECTOR_RULE_PRIORITY", hide_env_values = true, value_name = "NUMBER")]
    #[arg(value_parser = |text: &str| numbers::parse(text, numbers::rule_priority))]
    rule_priority: Option<Number>,

    /// Ports that no range cuts off; may be repeated [default: tcp/22, tcp/6443, tcp/10250]
    #[arg(long, env = "REDIRECTOR_PROTECT", hide_env_values = true)]
    #[arg(value_name = "PORTS", value_delimiter = ',')]
    protect: Option<Vec<Protected>>,

    /// Flow events that the kernel sends at most, each second [default: 1000]
    #[arg(long, env = "REDIRECTOR_EVENTS_PER_SECOND", hide_env_values = true, value_name = "NUMBER")]
    events_per_second: Option<u32>,

    /// How often what others changed is repaired [default: 30s]
    #[arg(long, env = "REDIRECTOR_RECONCILE", hide_env_values = true, value_name = "TIME")]
    #[arg(value_parser = numbers::reconcile)]
    reconcile: Option<Duration>,

    /// Where the API socket and the last applied routes are [default: /run/redirector]
    #[arg(long, env = "REDIRECTOR_STATE_DIR", hide_env_values = true, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,

    /// Where metrics and health are served: an address of loopback, or off [default: 127.0.0.1:9464]
    #[arg(long, env = "REDIRECTOR_METRICS_LISTEN", hide_env_values = true, value_name = "ADDRESS:PORT")]
    #[arg(value_parser = numbers::metrics_listen)]
    metrics_listen: Option<MetricsListen>,

    /// How much to write to the log, until `redirector log` says otherwise [default: info]
    #[arg(long, env = "REDIRECTOR_LOG_LEVEL", hide_env_values = true, value_enum)]
    log_level: Option<logs::Level>,

    /// How to write the log [default: text]
    #[arg(long, env = "REDIRECTOR_LOG_FORMAT", hide_env_values = true, value_enum)]
    log_format: Option<logs::Format>,
}

const ROUTE_HELP: &str = "\
Route: [NAME:][tcp/|udp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop|reset]; may be repeated

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
        let config = self.config.clone();
        let settings = self.settings()?;
        logs::set_format(settings.log.1);
        // What somebody who looks for a fault asks for is more than what the files say.
        if std::env::var_os("RUST_LOG").is_none() {
            logs::set_level(settings.log.0);
        }
        let over = Box::new(move |files| self.over(files));
        // One thread, which is the one whose network namespace everything concerns.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::No, error))?;
        runtime.block_on(agent::run(settings, config, over))
    }

    /// The settings: a flag says more than the environment, that more than the files, and those more than a default.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = self.over(config::read(self.config.as_deref())?);
        settings.routes.insert(Origin::CommandLine, parse_routes(&self.routes)?);
        Ok(settings)
    }

    /// What the files say, and over it what is said here, but for routes.
    fn over(&self, mut settings: Settings) -> Settings {
        if !self.interfaces.is_empty() {
            // What a file excludes is its own interfaces' exception.
            settings.interfaces = InterfaceGlobs { include: self.interfaces.clone(), exclude: Vec::new() };
        }
        settings.attach = self.attach.unwrap_or(settings.attach);
        settings.netfilter = self.netfilter.unwrap_or(settings.netfilter);
        settings.on_exit = self.on_exit.unwrap_or(settings.on_exit);
        self.mark.into_iter().for_each(|mark| settings.set_mark(mark));
        self.table.into_iter().for_each(|table| settings.set_table(table));
        self.rule_priority.into_iter().for_each(|priority| settings.set_rule_priority(priority));
        self.protect.iter().for_each(|protect| settings.protect.clone_from(protect));
        settings.events_per_second = self.events_per_second.unwrap_or(settings.events_per_second);
        settings.reconcile = self.reconcile.unwrap_or(settings.reconcile);
        self.state_dir.iter().for_each(|directory| settings.state_dir.clone_from(directory));
        settings.metrics_listen = self.metrics_listen.unwrap_or(settings.metrics_listen);
        let (level, format) = settings.log;
        settings.log = (self.log_level.unwrap_or(level), self.log_format.unwrap_or(format));
        settings
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
