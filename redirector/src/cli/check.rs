//! `redirector check`: whether this host can do what an agent will ask of it.

use std::{path::PathBuf, process::ExitCode};

use redirector::{
    check, config,
    failure::Failure,
    finding::{self, Format},
    routes::Origin,
    settings::Settings,
};

/// What an agent would be told.
#[derive(clap::Args)]
#[command(after_help = "Exit code: 0 where nothing is FAIL; else 7 the kernel cannot, 6 not permitted, \
5 invalid configuration, 1 anything else.\nEach id is explained in docs/troubleshooting.md.")]
pub struct Check {
    /// Configuration file; conf.d/*.toml beside it is read too [default: /etc/redirector/redirector.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Interface to look at: a name or a glob; may be repeated [default: all]
    #[arg(long = "interface", short, value_name = "GLOB")]
    interfaces: Vec<String>,

    /// Route whose proxy is looked for; may be repeated
    #[arg(long = "route", short, value_name = "ROUTE")]
    routes: Vec<String>,

    /// How to write it
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

impl Check {
    /// Looks, and says what stands in the way.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let output = self.output;
        let findings = check::look(self.settings());
        // Whoever closes the pipe has seen enough.
        let _ = finding::write(&mut anstream::stdout(), &findings, output);
        Ok(check::exit(&findings).map_or(ExitCode::SUCCESS, ExitCode::from))
    }

    fn settings(self) -> Result<Settings, Failure> {
        let mut settings = config::read(self.config.as_deref())?;
        if !self.interfaces.is_empty() {
            settings.interfaces.include = self.interfaces;
        }
        if !self.routes.is_empty() {
            settings.routes.insert(Origin::CommandLine, super::run::parse_routes(&self.routes)?);
        }
        Ok(settings)
    }
}
