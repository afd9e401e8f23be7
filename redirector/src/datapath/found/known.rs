//! Programs and maps by their ids, each opened once.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{fd::AsFd as _, linux::fs::MetadataExt as _},
};

use anyhow::{Context as _, Result, anyhow};
use aya::maps::MapInfo;

use super::{Member, OurProgram};
use crate::{
    host::{self, Direction, Interface},
    sys::{
        links,
        objects::{self, AttachType},
    },
};

/// What is known of programs by now: name, and what makes it ours.
#[derive(Default)]
pub struct Known {
    pub(super) programs: BTreeMap<u32, (String, Option<OurProgram>)>,
    map_names: BTreeMap<u32, String>,
}

impl Known {
    /// What is attached to an interface by TCX.
    pub fn tcx(&mut self, interface: &Interface, direction: Direction) -> Result<Vec<Member>> {
        let at = match direction {
            Direction::Ingress => AttachType::TcxIngress,
            Direction::Egress => AttachType::TcxEgress,
        };
        let attached = match objects::tcx_programs(interface.index, at) {
            // The kernel has no TCX, or the interface is gone.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => Vec::new(),
            attached => attached?,
        };
        let members = attached.into_iter().map(|(program, link)| {
            let (name, ours) = self.program(program)?;
            Ok(Member { name, program: Some(program), ours, link, filter: None })
        });
        members.collect()
    }

    /// What hangs on the clsact qdisc of an interface.
    pub fn clsact(&mut self, interface: &Interface, direction: Direction) -> Result<Vec<Member>> {
        let members = host::filters(interface.index, direction)?.into_iter().map(|filter| {
            let (name, ours) = match filter.program {
                Some(program) => self.program(program)?,
                None => (filter.name.clone(), false),
            };
            Ok(Member { name, program: filter.program, ours, link: None, filter: Some(filter) })
        });
        members.collect()
    }

    /// What is attached to the network namespace. Ours only: nobody's program there stands before another's.
    pub fn sk_lookup(&mut self) -> Result<Vec<Member>> {
        let netns = File::open(NETNS).context("open the network namespace")?;
        let mut members = Vec::new();
        for program in objects::sk_lookup_programs(netns.as_fd())? {
            let (name, ours) = self.program(program)?;
            if ours {
                members.push(Member { name, program: Some(program), ours, link: None, filter: None });
            }
        }
        if !members.is_empty() {
            let inode = netns.metadata().context("stat the network namespace")?.st_ino();
            for link in links::links().context("list links")? {
                let member = members.iter_mut().find(|member| member.program == Some(link.program));
                if let (Some(member), true) = (member, link.netns.map(u64::from) == Some(inode)) {
                    member.link = Some(link.id);
                }
            }
        }
        Ok(members)
    }

    /// The name of a program, and whether it is ours.
    pub fn program(&mut self, id: u32) -> Result<(String, bool)> {
        if !self.programs.contains_key(&id) {
            let facts = match objects::program(id) {
                // Gone since the hook was asked.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(("?".into(), false)),
                facts => facts.with_context(|| format!("open program {id}"))?,
            };
            self.add(&facts)?;
        }
        self.programs.get(&id).map(|(name, ours)| (name.clone(), ours.is_some())).ok_or(anyhow!("no program"))
    }

    /// Remembers a program.
    pub fn add(&mut self, facts: &objects::ProgramFacts) -> Result<()> {
        let mut maps = BTreeMap::new();
        for id in &facts.maps {
            match self.map_name(*id) {
                // Gone since, with the program.
                Err(error) if is_gone(&error) => {}
                name => drop(maps.insert(name.with_context(|| format!("open map {id}"))?, *id)),
            }
        }
        let ours = maps.contains_key(OURS).then(|| OurProgram { name: facts.name.clone(), maps });
        self.programs.insert(facts.id, (facts.name.clone(), ours));
        Ok(())
    }

    /// The name of a map.
    pub fn map_name(&mut self, id: u32) -> Result<String> {
        if let Some(name) = self.map_names.get(&id) {
            return Ok(name.clone());
        }
        let name = MapInfo::from_id(id)?.name_as_str().unwrap_or_default().to_owned();
        self.map_names.insert(id, name.clone());
        Ok(name)
    }
}

/// Whether the kernel says that there is no such object: others come and go meanwhile.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.raw_os_error() == Some(libc::ENOENT))
}

/// A program that uses a map of this name is ours.
pub const OURS: &str = "REDIRECTOR";

/// Not /proc/self: that is the first thread's.
const NETNS: &str = "/proc/thread-self/ns/net";
