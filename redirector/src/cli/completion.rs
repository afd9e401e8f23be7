//! `redirector completion`: what a shell needs to complete our command line.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap_complete::Shell;
use redirector::failure::Failure;

/// Whom for.
#[derive(clap::Args)]
#[command(after_help = "\
For bash: redirector completion bash > /usr/share/bash-completion/completions/redirector
For zsh:  redirector completion zsh > /usr/share/zsh/site-functions/_redirector
For fish: redirector completion fish > /usr/share/fish/vendor_completions.d/redirector.fish")]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Writes them, for the whole command line.
    pub fn run(self, command: &mut clap::Command) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "redirector", &mut script);
        // Whoever closes the pipe has seen enough.
        let _ = io::stdout().write_all(&script);
        Ok(ExitCode::SUCCESS)
    }
}
