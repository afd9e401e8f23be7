//! Puts programs back that somebody has detached, and before those that somebody has put before them.

use std::{fs::File, os::fd::AsFd as _};

use anyhow::{Context, Result};

use super::{
    hook::{Hook, program},
    load::{Datapath, loaded, sk_lookup},
};
use crate::{
    host::{self, Direction, Interface, qdisc},
    sys::objects::{self, AttachType},
};

/// What was found not to be as it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is as it was again.
    Done(String),
    /// It cannot be. Told once.
    Impossible(String),
}

/// Where a program of ours is, among those at its hook.
enum Place {
    /// Before all others.
    First,
    /// Behind these.
    Behind(Vec<String>),
    /// Behind these, and nothing can be before them, for this reason.
    MustBeBehind(Vec<String>, &'static str),
    /// Not there.
    Gone,
}

impl Datapath {
    /// Looks at every hook, repairs what is not as it was left, and says what that was.
    pub fn repair(&mut self, interfaces: impl Iterator<Item = Interface>) -> Vec<Repair> {
        let mut repairs: Vec<_> = interfaces.map(|interface| self.repair_interface(&interface)).collect();
        repairs.push(self.repair_sk_lookup());
        repairs.into_iter().filter_map(said).collect()
    }

    /// The same of one interface's hook.
    pub fn repair_hook(&mut self, interface: &Interface) -> Option<Repair> {
        said(self.repair_interface(interface))
    }

    fn repair_interface(&mut self, interface: &Interface) -> Result<Option<Repair>> {
        let Some(attachment) = self.interfaces.get_mut(interface.index) else { return Ok(None) };
        let (hook, name) = (attachment.hook, &interface.name);
        let place = match hook {
            Hook::Tcx => tcx_place(interface.index, attachment.program)?,
            Hook::Clsact => clsact_place(interface.index, attachment.program)?,
        };
        let told = std::mem::replace(&mut attachment.told, matches!(place, Place::MustBeBehind(..)));
        Ok(match place {
            Place::First => None,
            Place::MustBeBehind(..) if told => None,
            Place::MustBeBehind(others, why) => Some(Repair::Impossible(format!(
                "interface {name}: behind {}, {why}: what has its last word there is not redirected",
                others.join(", ")
            ))),
            Place::Gone => {
                self.reattach(interface)?;
                Some(Repair::Done(format!(
                    "interface {name}: captured again, for somebody had detached the program"
                )))
            }
            Place::Behind(others) => {
                if hook == Hook::Tcx {
                    // The kernel attaches a program once only to a hook (kernel/bpf/mprog.c, bpf_mprog_attach): so that
                    // there is no gap, another instance goes before the first.
                    self.load_anew(interface)?;
                }
                self.reattach(interface)?;
                Some(Repair::Done(format!(
                    "interface {name}: first again, for before it was {}",
                    others.join(", ")
                )))
            }
        })
    }

    fn repair_sk_lookup(&mut self) -> Result<Option<Repair>> {
        if self.sk_lookup.is_none() {
            return Ok(None);
        }
        let netns = File::open("/proc/thread-self/ns/net").context("open the network namespace")?;
        let attached =
            objects::sk_lookup_programs(netns.as_fd()).context("ask for the programs at sk_lookup")?;
        let program = sk_lookup(&mut self.ebpf)?.info().context("describe sk_lookup")?.id();
        if attached.contains(&program) {
            return Ok(None);
        }
        self.attach_sk_lookup()?;
        Ok(Some(Repair::Done("sk_lookup: attached again, for somebody had detached it".to_owned())))
    }

    /// Loads the program for an interface once more. Its maps are the same, and links to the old one stay.
    fn load_anew(&mut self, interface: &Interface) -> Result<()> {
        let name = program(interface.link);
        let classifier = self.classifier(name)?;
        classifier.unload().with_context(|| format!("let go of program {name}"))?;
        loaded(name, classifier.load())?;
        self.keep_route_names()
    }
}

/// One hook's failure is not another's.
fn said(repair: Result<Option<Repair>>) -> Option<Repair> {
    repair.unwrap_or_else(|error| Some(Repair::Impossible(format!("{error:#}"))))
}

fn tcx_place(ifindex: u32, program: u32) -> Result<Place> {
    let attached = match objects::tcx_programs(ifindex, AttachType::TcxIngress) {
        // The interface is gone, and a notice of that is on its way.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(Place::First),
        attached => attached.context("ask for the programs at tcx ingress")?,
    };
    Ok(match attached.iter().position(|(id, _)| *id == program) {
        None => Place::Gone,
        Some(0) => Place::First,
        Some(position) => Place::Behind(attached[..position].iter().map(|(id, _)| name(*id)).collect()),
    })
}

fn clsact_place(ifindex: u32, program: u32) -> Result<Place> {
    if qdisc::interface_is_gone(ifindex)? {
        return Ok(Place::First);
    }
    let filters = match host::filters(ifindex, Direction::Ingress) {
        // The qdisc is gone, and ours with it.
        Err(_) => return Ok(Place::Gone),
        filters => filters?,
    };
    let Some(position) = filters.iter().position(|filter| filter.program == Some(program)) else {
        return Ok(Place::Gone);
    };
    // A kernel without TCX has no programs there.
    let tcx = objects::tcx_programs(ifindex, AttachType::TcxIngress).unwrap_or_default();
    if !tcx.is_empty() {
        let before = tcx.iter().map(|(id, _)| name(*id)).collect();
        return Ok(Place::MustBeBehind(before, "at TCX, which comes before clsact"));
    }
    let before: Vec<String> = filters[..position].iter().map(|filter| filter.name.clone()).collect();
    Ok(match filters.first() {
        _ if before.is_empty() => Place::First,
        Some(first) if first.priority <= 1 => {
            Place::MustBeBehind(before, "at priority 1, which nothing can be before")
        }
        _ => Place::Behind(before),
    })
}

/// What a program is called; without CAP_SYS_ADMIN the kernel tells its number only.
fn name(id: u32) -> String {
    objects::program(id).map_or_else(|_| format!("program {id}"), |program| program.name)
}
