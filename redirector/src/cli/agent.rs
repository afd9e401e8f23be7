//! Where the running agent is that a command asks.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use redirector::{api::Client, config, failure::Failure, settings::Settings};
use serde_json::Value;

/// How to find the agent.
#[derive(clap::Args)]
pub struct AgentAt {
    /// The agent's state directory, where its socket is [default: that of the configuration, or /run/redirector]
    #[arg(long, env = "REDIRECTOR_STATE_DIR", hide_env_values = true, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,

    /// The agent's configuration file, which names that directory [default: /etc/redirector/redirector.toml]
    #[arg(long, env = "REDIRECTOR_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AgentAt {
    /// A client of it.
    pub fn client(self) -> Result<Client, Failure> {
        Ok(Client::new(&self.state_dir()?))
    }

    /// Its state directory.
    pub fn state_dir(self) -> Result<PathBuf, Failure> {
        Ok(match (self.state_dir, self.config) {
            (Some(directory), _) => directory,
            (None, Some(config)) => config::read(Some(&config))?.state_dir,
            // A file that nobody named may be of no concern, or not for everybody to read.
            (None, None) => config::read(None).unwrap_or_else(|_| Settings::default()).state_dir,
        })
    }
}

/// Writes results. Whoever closes the pipe has seen enough.
pub fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Writes a document as it is.
pub fn print_document(document: &Value) {
    print(&format!("{document:#}\n"));
}

/// Writes rows under their titles; the columns that have numbers are the last ones.
pub fn print_table(titles: &[&str], numbers: usize, rows: &[Row]) {
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row.cells[column].chars().count());
            cells.chain([titles[column].len()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column + numbers >= titles.len() {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned() + "\n"
    };
    let titles: Vec<_> = titles.iter().map(|title| (*title).to_owned()).collect();
    let mut out = io::BufWriter::new(anstream::stdout().lock());
    // As above.
    let _ = out.write_all(line(&titles).as_bytes());
    for row in rows {
        let _ = out.write_all(line(&row.cells).as_bytes());
        for note in &row.notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    let _ = out.flush();
}

/// A row of a table, and what stands below it.
pub struct Row {
    /// One for each column.
    pub cells: Vec<String>,
    /// A line each.
    pub notes: Vec<String>,
}
