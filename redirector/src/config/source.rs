//! The files of a configuration: which there are, and their text.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use super::{place::Span, reader::Collector};

/// The file that is read where none is named.
pub const DEFAULT: &str = "/etc/redirector/redirector.toml";

/// The most that is read of a file, in bytes. A hundred thousand routes need about ten MiB.
pub(super) const MOST: usize = 16 << 20;

/// A file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, without a byte order mark.
    pub text: String,
}

/// Loads the file, which must be there if `needed`, and those of `conf.d` beside it in the order of their names.
pub(super) fn load(main: &Path, needed: bool, collector: &mut Collector) -> Vec<Source> {
    let mut sources = Vec::new();
    match bytes(main) {
        Err(error) if !needed && error.kind() == ErrorKind::NotFound => {}
        Err(error) => collector.unreadable(main, error),
        Ok(bytes) => sources.extend(source(0, main, bytes, collector)),
    }
    for path in beside(main, collector) {
        let file = sources.len() as u32;
        match bytes(&path) {
            Err(error) => collector.unreadable(&path, error),
            Ok(bytes) => sources.extend(source(file, &path, bytes, collector)),
        }
    }
    sources
}

/// The files of `conf.d`. A ConfigMap puts `..data` and a directory with a date there too, to which the files that
/// people mean are symbolic links.
fn beside(main: &Path, collector: &mut Collector) -> Vec<PathBuf> {
    let directory = main.with_file_name("conf.d");
    let entries = match fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Vec::new();
        }
        Err(error) => {
            collector.unreadable(&directory, error);
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = entries
        .into_iter()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        // A link that leads nowhere is kept, and refused when it is read: its settings are missing.
        .filter(|path| fs::metadata(path).map_or(true, |data| data.is_file()))
        .collect();
    paths.sort_unstable();
    paths
}

/// The bytes of a file, and one more than the most where there are more.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file. Of one that is too long, or not text, only what an error shows.
fn source(file: u32, path: &Path, bytes: Vec<u8>, collector: &mut Collector) -> Option<Source> {
    if bytes.len() > MOST {
        let error = io::Error::new(ErrorKind::FileTooLarge, format!("longer than {} MiB", MOST >> 20));
        collector.unreadable(path, error);
        return None;
    }
    Some(text(file, path, bytes, collector))
}

/// The same of bytes of any length.
pub(super) fn text(file: u32, path: &Path, mut bytes: Vec<u8>, collector: &mut Collector) -> Source {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..'\u{feff}'.len_utf8());
    }
    let text = String::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        collector.wrong(Span::new(file, valid..valid + 1), "this is not text: the file is not UTF-8");
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    });
    Source { path: path.to_owned(), text }
}
