//! A failure as its user meets it: what we were doing, the cause, the fix, and the exit code.

use std::{fmt, io, process::ExitCode};

use crate::datapath::VerifierRefusal;

/// The exit codes. Success is 0; each code has one meaning in every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The answer is no, or something failed that has no code of its own.
    No = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No agent answers.
    Unreachable = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// The configuration, or a route in it, is invalid.
    Invalid = 5,
    /// The caller may not.
    NotPermitted = 6,
    /// The kernel cannot.
    Kernel = 7,
    /// It took too long.
    TimedOut = 8,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The code that the process exits with.
    pub exit: Exit,
    /// What we were doing, to what, and the cause.
    pub error: anyhow::Error,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with an exit code of its own.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<VerifierRefusal>()) {
            return Self::new(Exit::Kernel, error).hint("RUST_LOG=debug shows the verifier's whole log");
        }
        let code = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
        match code {
            Some(libc::EPERM | libc::EACCES) => Self::new(Exit::NotPermitted, error)
                .hint("needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run it as root, or give it these"),
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS) => Self::new(Exit::Kernel, error),
            _ => Self::new(Exit::No, error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redirector: {:#}", self.error)?;
        for line in self.hint.iter().flat_map(|hint| hint.lines()) {
            write!(f, "\n  hint: {line}")?;
        }
        Ok(())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
