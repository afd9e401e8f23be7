//! What of ours is in the kernel, in this network namespace, whoever put it there and whether or not that one lives.
//!
//! The hooks are asked, and a program that uses a map called `REDIRECTOR` is ours: no file is needed, and none is
//! believed. A program is opened by its id, which takes CAP_SYS_ADMIN.

mod known;
mod maps;
mod pins;
mod routes;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use anyhow::Context as _;

use super::Hook;
use crate::{
    failure::{Exit, Failure},
    host::{self, Direction, Filter, Interface},
};
use known::Known;
pub use maps::{Fill, FoundMaps};
pub use pins::{BPFFS, Pin};
pub use routes::{FoundRoute, RouteStats};

/// What is attached in this network namespace, and what of ours is pinned.
#[derive(Debug, Default)]
pub struct Found {
    /// Every hook of an interface that has a program or a filter, ours or not.
    pub chains: Vec<Chain>,
    /// Our programs at the namespace's look-up of a listener.
    pub sk_lookup: Vec<Member>,
    /// What of ours is pinned and belongs to this network namespace.
    pub pins: Vec<Pin>,
    /// Programs of ours, attached here or pinned for here, by id.
    pub programs: BTreeMap<u32, OurProgram>,
}

/// The programs and filters of one hook, in the order in which they see a packet.
#[derive(Debug)]
pub struct Chain {
    /// Whose hook it is.
    pub interface: Interface,
    /// Which kind of hook.
    pub hook: Hook,
    /// Which packets.
    pub direction: Direction,
    /// What is attached.
    pub members: Vec<Member>,
}

/// One program or filter at a hook.
#[derive(Debug)]
pub struct Member {
    /// What it is called.
    pub name: String,
    /// Its program's id, if it has a program.
    pub program: Option<u32>,
    /// Whether it is ours.
    pub ours: bool,
    /// The link by which it is attached, if it is one.
    pub link: Option<u32>,
    /// The filter by which it is attached, if it is one.
    pub filter: Option<Filter>,
}

/// A program that is ours.
#[derive(Clone, Debug)]
pub struct OurProgram {
    /// Its name.
    pub name: String,
    /// The ids of its maps by name.
    pub maps: BTreeMap<String, u32>,
}

impl Chain {
    /// Where in the chain the first program of ours is.
    pub fn position(&self) -> Option<usize> {
        self.members.iter().position(|member| member.ours)
    }

    /// The names of what is not ours, before the first of ours or all.
    pub fn others(&self, before_ours: bool) -> Vec<&str> {
        let end = if before_ours { self.position().unwrap_or(0) } else { self.members.len() };
        self.members[..end].iter().filter(|member| !member.ours).map(|member| &*member.name).collect()
    }

    /// Interface, hook and direction as messages have them.
    pub fn place(&self) -> String {
        format!("{} {} {}", self.interface.name, self.hook, self.direction.word())
    }
}

impl Found {
    /// Asks the hooks of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The caller lacks CAP_SYS_ADMIN or CAP_NET_ADMIN, or the kernel refused.
    pub fn look() -> Result<Self, Failure> {
        Self::ask().map_err(|error| {
            let code = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
            match code {
                Some(libc::EPERM | libc::EACCES) => Failure::new(Exit::NotPermitted, error)
                    .hint("needs CAP_SYS_ADMIN, to open programs and maps by their ids: run it as root"),
                _ => error.into(),
            }
        })
    }

    fn ask() -> anyhow::Result<Self> {
        let mut found = Self::default();
        let mut known = Known::default();
        for interface in host::interfaces()? {
            for direction in Direction::ALL {
                for hook in [Hook::Tcx, Hook::Clsact] {
                    let members = match hook {
                        Hook::Tcx => known.tcx(&interface, direction),
                        Hook::Clsact => known.clsact(&interface, direction),
                    };
                    let members = members.with_context(|| {
                        format!("ask for the programs at {} {hook} {}", interface.name, direction.word())
                    })?;
                    if !members.is_empty() {
                        found.chains.push(Chain { interface: interface.clone(), hook, direction, members });
                    }
                }
            }
        }
        found.sk_lookup = known.sk_lookup().context("ask for the programs at sk_lookup")?;
        found.pins = pins::find(&mut known).context("look for pins")?;
        // What is pinned for other network namespaces became known too.
        let members = found.chains.iter().flat_map(|chain| &chain.members).chain(&found.sk_lookup);
        let here = members.filter_map(|member| member.program);
        let here: BTreeSet<_> = here.chain(found.pins.iter().filter_map(|pin| pin.program)).collect();
        let programs = known.programs.into_iter().filter(|(id, _)| here.contains(id));
        found.programs = programs.filter_map(|(id, (_, ours))| Some((id, ours?))).collect();
        Ok(found)
    }

    /// Whether nothing of ours is attached or pinned.
    pub fn is_empty(&self) -> bool {
        self.sk_lookup.is_empty() && self.pins.is_empty() && self.ours().next().is_none()
    }

    /// The hooks that have a program of ours.
    pub fn ours(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| chain.position().is_some())
    }

    /// What others have that sees a packet before the first program of ours in a chain does. The kernel asks TCX before
    /// clsact.
    pub fn before<'a>(&'a self, ours: &'a Chain) -> Vec<&'a str> {
        let earlier = self.chains.iter().filter(|chain| {
            ours.hook == Hook::Clsact
                && chain.hook == Hook::Tcx
                && chain.interface.index == ours.interface.index
                && chain.direction == ours.direction
        });
        earlier.flat_map(|chain| chain.others(false)).chain(ours.others(true)).collect()
    }

    /// The maps of the newest programs of ours.
    pub fn maps(&self) -> Option<FoundMaps> {
        FoundMaps::of_newest(&self.programs)
    }
}
