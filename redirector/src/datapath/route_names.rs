//! What the routes are called, kept in the kernel beside them for whoever looks without an agent.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, Map, MapData};
use redirector_common::entries::ROUTE_NAME_BYTES;

use super::load::{Datapath, INGRESS, map_mut, sk_lookup};
use super::routes::gone;
use crate::sys;

impl Datapath {
    /// Lets `ROUTE_NAMES`, which no program uses, live as long as those that are attached do.
    pub(super) fn keep_route_names(&mut self) -> Result<()> {
        let mut programs = vec![sk_lookup(&mut self.ebpf)?.fd()?.try_clone()?];
        for name in INGRESS {
            programs.push(self.classifier(name)?.fd()?.try_clone()?);
        }
        let Map::HashMap(map) = map_mut(&mut self.ebpf, "ROUTE_NAMES")? else {
            bail!("ROUTE_NAMES is no hash map")
        };
        for program in programs {
            sys::links::bind_map(program.as_fd(), map.fd().as_fd()).context("bind ROUTE_NAMES")?;
        }
        Ok(())
    }

    /// Writes the names of the routes in these slots.
    pub(super) fn write_route_names<'a>(
        &mut self,
        names: impl Iterator<Item = (u32, &'a String)>,
    ) -> Result<()> {
        self.update("ROUTE_NAMES", names.map(|(slot, name)| (slot, [cut(name)])))
    }

    /// Forgets the names of the routes that were in these slots.
    pub(super) fn remove_route_names(&mut self, slots: &[u32]) -> Result<()> {
        let mut map = self.route_names()?;
        for slot in slots {
            gone(map.remove(slot)).context("write ROUTE_NAMES")?;
        }
        Ok(())
    }

    fn route_names(&mut self) -> Result<HashMap<&mut MapData, u32, [u8; ROUTE_NAME_BYTES]>> {
        Ok(HashMap::try_from(map_mut(&mut self.ebpf, "ROUTE_NAMES")?)?)
    }
}

/// The beginning of a name, which ends in a whole character.
fn cut(name: &str) -> [u8; ROUTE_NAME_BYTES] {
    let mut bytes = [0; ROUTE_NAME_BYTES];
    let end = (0..=name.len().min(ROUTE_NAME_BYTES)).rev().find(|end| name.is_char_boundary(*end));
    let beginning = &name.as_bytes()[..end.unwrap_or(0)];
    bytes[..beginning.len()].copy_from_slice(beginning);
    bytes
}

/// A name as it stands in `ROUTE_NAMES`.
pub(super) fn read(bytes: &[u8; ROUTE_NAME_BYTES]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_and_a_long_one_is_cut() {
        for (name, kept) in
            [("web", "web"), (&*"a".repeat(64), &*"a".repeat(64)), (&*"b".repeat(70), &*"b".repeat(64))]
        {
            assert_eq!(read(&cut(name)), kept);
        }
    }
}
