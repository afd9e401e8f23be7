//! What of ours is pinned.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;
use aya::maps::{Array, Map, MapData, MapInfo};
use redirector_common::entries::{LAYOUT_VERSION, Settings};

use super::known::{Known, OURS, is_gone};
use crate::sys::{self, objects};

/// Where a bpffs is mounted by custom.
pub const BPFFS: &str = "/sys/fs/bpf";

/// How deep and how many: a bpffs is everybody's, and may be large.
const DEEPEST: usize = 4;
const MOST: usize = 4096;

/// A pinned object of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Where.
    pub path: PathBuf,
    /// What: `link`, `program` or `map`, with its program's or its own name.
    pub what: String,
    /// The id of its program; `None` for a map.
    pub program: Option<u32>,
}

/// The pins of ours that belong to this network namespace: one bpffs may serve many, and what an agent has pinned
/// for another is not ours to touch.
pub fn find(known: &mut Known) -> Result<Vec<Pin>> {
    let mut paths = Vec::new();
    list(Path::new(BPFFS), DEEPEST, &mut paths);
    let mut pins = Vec::new();
    if paths.is_empty() {
        return Ok(pins);
    }
    let cookie = sys::netns_cookie()?;
    for path in paths {
        let pinned = match objects::pinned(&path) {
            // Neither program, map nor link, or gone: an iterator's file is opened otherwise.
            Err(error) if error.raw_os_error() != Some(libc::EPERM) => continue,
            pinned => pinned?,
        };
        match describe(known, &path, pinned, cookie) {
            // Gone since.
            Err(error) if is_gone(&error) => {}
            pin => pins.extend(pin?),
        }
    }
    Ok(pins)
}

/// The pin, if it is ours and of this network namespace.
fn describe(known: &mut Known, path: &Path, pinned: objects::Pinned, cookie: u64) -> Result<Option<Pin>> {
    let (what, maps, program) = match &pinned {
        objects::Pinned::Program(facts) => {
            known.add(facts)?;
            (format!("program {}", facts.name), facts.maps.clone(), Some(facts.id))
        }
        objects::Pinned::Link(link) => {
            let facts = objects::program(link.program)?;
            known.add(&facts)?;
            (format!("link of {}", facts.name), facts.maps, Some(facts.id))
        }
        objects::Pinned::Map(id) => (format!("map {}", known.map_name(*id)?), vec![*id], None),
    };
    Ok(serves(known, &maps, cookie)?.then(|| Pin { path: path.to_owned(), what, program }))
}

/// Whether one of these maps is our `REDIRECTOR` with the cookie of this network namespace. A map that is pinned
/// alone must be that one: no other tells whose it is.
fn serves(known: &mut Known, maps: &[u32], cookie: u64) -> Result<bool> {
    for id in maps {
        if known.map_name(*id)? == OURS && netns_of(*id)? == Some(cookie) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The network namespace that a map of our name was written for; `None` for a stranger's.
fn netns_of(id: u32) -> Result<Option<u64>> {
    if MapInfo::from_id(id)?.value_size() as usize != size_of::<Settings>() {
        return Ok(None);
    }
    let map: Array<MapData, Settings> = Array::try_from(Map::from_map_data(MapData::from_id(id)?)?)?;
    let settings = map.get(&0, 0)?;
    Ok((settings.version == LAYOUT_VERSION).then_some(settings.netns_cookie))
}

/// The files below a directory of a bpffs, as far as they may be read.
fn list(directory: &Path, depth: usize, paths: &mut Vec<PathBuf>) {
    if !is_bpffs(directory).unwrap_or(false) {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if paths.len() >= MOST {
            return;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => list(&entry.path(), depth - 1, paths),
            Ok(kind) if kind.is_file() => paths.push(entry.path()),
            _ => {}
        }
    }
}

fn is_bpffs(directory: &Path) -> io::Result<bool> {
    Ok(sys::filesystem_kind(directory)? == BPF_FS_MAGIC)
}

/// include/uapi/linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
