//! What is wrong with a configuration.

use std::{fmt, io, path::PathBuf};

use anyhow::anyhow;

use super::place::Place;
use crate::failure::{Exit, Failure};

/// All that is wrong with a configuration, in the order of the files and their text.
#[derive(Debug)]
pub struct Errors {
    /// What was read: `the configuration`.
    pub what: &'static str,
    /// What is shown: at least one, at most 1,000.
    pub errors: Vec<Error>,
    /// How many more there are.
    pub more: usize,
}

/// One thing that is wrong.
#[derive(Debug)]
pub enum Error {
    /// A file, or the directory `conf.d`, that cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What a file says.
    Wrong {
        /// Where.
        place: Place,
        /// What is wrong, on one line.
        message: String,
        /// Where its other half stands, where it takes two.
        other: Option<Place>,
    },
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what;
        match self.errors.len() + self.more {
            1 => write!(f, "{what} has 1 error")?,
            count => write!(f, "{what} has {count} errors")?,
        }
        for error in &self.errors {
            write!(f, "\n{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(f, "read {}: {error}", path.display()),
            Self::Wrong { place, message, other } => {
                write!(f, "{place}: {message}\n{}", place.line())?;
                other.iter().try_for_each(|other| write!(f, "\n  and at {other}\n{}", other.line()))
            }
        }
    }
}

impl std::error::Error for Errors {}

impl From<Errors> for Failure {
    /// The code of a file that cannot be read is its own only where nothing else is wrong.
    fn from(errors: Errors) -> Self {
        let exit = match &errors.errors[..] {
            [Error::Unreadable { error, .. }] => match error.kind() {
                io::ErrorKind::NotFound => Exit::NotFound,
                io::ErrorKind::PermissionDenied => Exit::NotPermitted,
                _ => Exit::Invalid,
            },
            _ => Exit::Invalid,
        };
        // As text: the code of an I/O error in the chain would be taken for one of the datapath's.
        Failure::new(exit, anyhow!("{errors}"))
    }
}
