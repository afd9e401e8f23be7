//! `redirector version`: which build this is.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use redirector::{failure::Failure, finding::Format};
use redirector_common::entries::LAYOUT_VERSION;
use serde_json::json;

/// How to show it.
#[derive(clap::Args)]
pub struct Version {
    /// How to write it
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// The source's revision, which `cargo xtask build` tells the compiler.
const REVISION: Option<&str> = option_env!("REDIRECTOR_REVISION");

impl Version {
    /// Says it.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let text = match self.output {
            Format::Table => format!(
                "redirector {version}\nrevision   {}\nmap layout {LAYOUT_VERSION}",
                REVISION.unwrap_or("unknown")
            ),
            Format::Json => format!(
                "{:#}",
                json!({
                    "version": 1,
                    "redirector": version,
                    "revision": REVISION,
                    "map_layout": LAYOUT_VERSION,
                })
            ),
        };
        // Whoever closes the pipe has seen enough.
        let _ = writeln!(io::stdout(), "{text}");
        Ok(ExitCode::SUCCESS)
    }
}
