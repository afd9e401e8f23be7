//! The configuration: one file, and what stands in `conf.d` beside it.
//!
//! [`read`] gives the settings of all files, or everything that is wrong in any of them, each error with its place.
//! `source` finds and loads the files, `pieces` reads many routes, `reader` takes values of the expected type out of them, `file` and `route`
//! say what the keys mean, `place` and `error` show where something is wrong. What is known in each table is in
//! [`keys`].
//!
//! The admin API and its commands have the same words: [`routes`] reads routes alone, also out of JSON, and
//! [`RouteWords`] writes one.

use std::path::Path;

use crate::settings::Settings;

mod document;
mod error;
mod file;
mod json;
pub mod keys;
pub mod numbers;
mod pieces;
mod place;
mod reader;
mod route;
mod source;
mod syntax;
mod target;
#[cfg(test)]
mod tests;
mod words;

pub use document::{Syntax, names, routes};
pub use error::{Error, Errors};
pub use place::{Place, RoutePlaces};
pub use source::DEFAULT;
pub use words::{RouteWords, write_routes};

use file::Files;
use reader::Collector;

/// Reads the settings from a file and the `conf.d` beside it; what they do not set has its default. Without a path
/// the file is [`DEFAULT`], which need not be there.
///
/// # Errors
///
/// All that is wrong, in all files: what cannot be read, what is not TOML, unknown keys, wrong values, a setting that
/// two files set, two routes of one name. Whether the routes go together is for [`crate::routes::compile`] to tell.
pub fn read(path: Option<&Path>) -> Result<Settings, Errors> {
    match path {
        Some(path) => read_at(path, true),
        None => read_at(Path::new(DEFAULT), false),
    }
}

/// Reads a file, which must be there if `needed`, and the `conf.d` beside it.
fn read_at(path: &Path, needed: bool) -> Result<Settings, Errors> {
    let mut collector = Collector::default();
    let sources = source::load(path, needed, &mut collector);
    let mut files = Files::default();
    for (file, source) in (0..).zip(&sources) {
        files.read(file, &source.text, &mut collector);
    }
    match collector.finish("the configuration", &sources) {
        None => Ok(files.settings(sources)),
        Some(errors) => Err(errors),
    }
}
