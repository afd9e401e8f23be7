//! The routes that the API gave, as a journal: a change adds a few lines, however many routes there are.
//!
//! The file begins with a line that says what it is. A change is a line with `-` for each name that goes, a line with `+` for
//! each route that comes, in the words of the command line, and a line with `.` that ends it. What stands behind the last
//! such line was being written when an agent was killed: it was confirmed to nobody.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::remove;
use crate::routes::Route;

/// The file.
pub(super) const NAME: &str = "api-routes.journal";
/// Its first line.
const HEAD: &str = "redirector routes 1\n";
/// The line that ends a change.
const END: &str = ".\n";
/// So many lines more than twice the routes that there are, and the journal is written anew: that costs as much for all routes
/// as what was saved until then.
const LINES: usize = 20_000;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None where there is no file yet.
    file: Option<File>,
    /// Bytes up to the end of the last change.
    length: u64,
    /// Bytes up to the end of the change before it.
    before: u64,
    /// Whether there may be bytes behind the last change.
    torn: bool,
    /// Lines of the file.
    lines: usize,
}

/// What was kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The routes by name; none where nothing was kept, or nothing that can be read.
    pub routes: Vec<Route>,
    /// What was found instead, and what became of it.
    pub warning: Option<String>,
}

impl Journal {
    /// The journal in a directory, which is not read yet.
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(NAME), file: None, length: 0, before: 0, torn: false, lines: 0 }
    }

    /// The routes after the last change that was written whole. A file that cannot be read is put aside, so that it neither
    /// stops an agent nor is lost.
    ///
    /// # Errors
    ///
    /// The file is there and the kernel does not give it out.
    pub fn load(&mut self) -> Result<Loaded> {
        let shown = self.path.display().to_string();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::default()),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        let end = end_of_changes(&text);
        let read = std::str::from_utf8(&text[..end]).map_err(anyhow::Error::from).and_then(replay);
        let (routes, lines) = match read {
            Ok(read) => read,
            Err(error) => {
                let bad = self.put_aside()?;
                let warning = format!(
                    "the API's routes of the last agent cannot be read and are left out; they are in {} now\n{error:#}",
                    bad.display()
                );
                return Ok(Loaded { routes: Vec::new(), warning: Some(warning) });
            }
        };
        let file = OpenOptions::new().write(true).open(&self.path);
        self.file = Some(file.with_context(|| format!("open {shown}"))?);
        (self.length, self.before, self.lines) = (end as u64, end as u64, lines);
        self.torn = end < text.len();
        let warning = self.torn.then(|| {
            format!(
                "{shown}: the last change was not written whole, nor confirmed to anybody, and is left out"
            )
        });
        self.cut()?;
        Ok(Loaded { routes: routes.into_values().collect(), warning })
    }

    /// Adds a change. It is on the disk, whole, when this returns.
    ///
    /// # Errors
    ///
    /// It cannot be written; the changes before are still there.
    pub fn append<'a>(
        &mut self,
        removed: impl IntoIterator<Item = &'a str>,
        added: impl IntoIterator<Item = &'a Route>,
    ) -> Result<()> {
        if self.file.is_none() {
            self.write_anew([])?;
        }
        self.cut()?;
        let Some(file) = &self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        let lines = write_change(&mut bytes, removed, added)?;
        let written = file.write_all_at(&bytes, self.length).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.torn = true;
            // What cannot be cut off now is before the next change.
            let _ = self.cut();
            return Err(error).with_context(|| format!("keep the API's routes in {}", self.path.display()));
        }
        (self.before, self.length) = (self.length, self.length + bytes.len() as u64);
        self.lines += lines;
        Ok(())
    }

    /// Takes back the change that was added last.
    ///
    /// # Errors
    ///
    /// The kernel refused; it is tried again before the next change.
    pub fn take_back(&mut self) -> Result<()> {
        self.torn = self.before < self.length;
        self.length = self.before;
        self.cut()
    }

    /// Writes the journal anew if it has grown far beyond the routes that there are, so many.
    ///
    /// # Errors
    ///
    /// It cannot be written; the old one is still there, and is tried again when it has grown as much once more.
    pub fn compact<'a>(&mut self, count: usize, routes: impl IntoIterator<Item = &'a Route>) -> Result<()> {
        if self.lines <= 2 * count + LINES {
            return Ok(());
        }
        self.lines = 0;
        self.write_anew(routes)
    }

    /// Puts the file aside, and says where it is then.
    ///
    /// # Errors
    ///
    /// It cannot be renamed.
    pub fn put_aside(&mut self) -> Result<PathBuf> {
        let bad = self.path.with_added_extension("bad");
        fs::rename(&self.path, &bad).with_context(|| format!("put {} aside", self.path.display()))?;
        self.file = None;
        Ok(bad)
    }

    /// Writes a file with these routes, which takes the place of the old one when it is whole.
    fn write_anew<'a>(&mut self, routes: impl IntoIterator<Item = &'a Route>) -> Result<()> {
        let new = self.path.with_file_name(format!(".{NAME}.new"));
        let write = || -> io::Result<(File, u64, usize)> {
            // What a crash left could belong to somebody else by now.
            remove(&new)?;
            let mut file =
                BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?);
            file.write_all(HEAD.as_bytes())?;
            let lines = write_change(&mut file, [], routes)?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            let length = file.metadata()?.len();
            fs::rename(&new, &self.path)?;
            Ok((file, length, lines))
        };
        let written = write()
            .inspect_err(|_| remove(&new).unwrap_or_default())
            .with_context(|| format!("keep the API's routes in {}", self.path.display()));
        let (file, length, lines) = written?;
        (self.file, self.length, self.before) = (Some(file), length, length);
        (self.lines, self.torn) = (lines, false);
        // The old file is as good as long as nothing is added to the new one.
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|directory| directory.sync_all()).context("keep the journal's name")
    }

    /// Cuts off what is behind the last change.
    fn cut(&mut self) -> Result<()> {
        if let (true, Some(file)) = (self.torn, &self.file) {
            file.set_len(self.length)
                .and_then(|()| file.sync_data())
                .with_context(|| format!("cut {} off", self.path.display()))?;
        }
        self.torn = false;
        Ok(())
    }
}

/// Writes a change, and says how many lines it has.
fn write_change<'a>(
    to: &mut impl Write,
    removed: impl IntoIterator<Item = &'a str>,
    added: impl IntoIterator<Item = &'a Route>,
) -> io::Result<usize> {
    let mut lines = 1;
    for name in removed {
        writeln!(to, "-{name}")?;
        lines += 1;
    }
    for route in added {
        writeln!(to, "+{route}")?;
        lines += 1;
    }
    to.write_all(END.as_bytes())?;
    Ok(lines)
}

/// How long the text is up to the end of its last whole change.
fn end_of_changes(text: &[u8]) -> usize {
    let mut end = text.len();
    while let Some(newline) = text[..end].iter().rposition(|byte| *byte == b'\n') {
        let before = text[..newline].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        if text[before..=newline] == *END.as_bytes() {
            return newline + 1;
        }
        end = newline;
    }
    0
}

/// The routes after all changes of a text, and how many lines it has.
fn replay(text: &str) -> Result<(BTreeMap<String, Route>, usize)> {
    let changes =
        text.strip_prefix(HEAD).with_context(|| format!("it does not begin with `{}`", HEAD.trim()))?;
    let mut routes = BTreeMap::new();
    let mut lines = 0;
    for (number, line) in (2..).zip(changes.lines()) {
        lines += 1;
        if let Some(name) = line.strip_prefix('-') {
            routes.remove(name);
        } else if let Some(text) = line.strip_prefix('+') {
            let route: Route = text.parse().map_err(|error| anyhow!("line {number}: {error}"))?;
            routes.insert(route.name.clone(), route);
        } else {
            ensure!(line == END.trim(), "line {number}: `{line}` is neither a route nor the end of a change");
        }
    }
    Ok((routes, lines))
}

#[cfg(test)]
mod tests;
