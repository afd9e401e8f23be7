//! What of ours is pinned.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;
use aya::maps::{Array, Map, MapData, MapInfo};
use redirector_common::entries::{LAYOUT_VERSION, Settings};

use super::known::{Known, OURS};
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
    /// The link, if it is one.
    pub link: Option<u32>,
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
        let (what, maps, link) = match &pinned {
            objects::Pinned::Program(facts) => {
                known.add(facts)?;
                (format!("program {}", facts.name), facts.maps.clone(), None)
            }
            objects::Pinned::Link(link) => {
                let (name, _) = known.program(link.program)?;
                let facts = objects::program(link.program);
                (format!("link of {name}"), facts.map_or(Vec::new(), |facts| facts.maps), Some(link.id))
            }
            objects::Pinned::Map(id) => (format!("map {}", known.map_name(*id)?), vec![*id], None),
        };
        if serves(known, &maps, cookie)? {
            pins.push(Pin { path, what, link });
        }
    }
    Ok(pins)
}

/// Whether one of these maps is our `REDIRECTOR` with the cookie of this network namespace. Of maps alone it is only that
/// one that tells whose it is.
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
