//! Loads the programs with maps of their own. Nothing is attached and nothing is steered by it.

use std::{collections::BTreeMap, os::fd::AsFd as _};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData},
    programs::{ProgramError, SchedClassifier, SkLookup, sk_lookup::SkLookupLink},
};
use redirector_common::entries::{LAYOUT_VERSION, LISTENERS_PER_PROXY, NextHopEntry, Settings};

use super::{attachments::Attachments, defunct::Defunct, locals::Locals, transparent};
use crate::{
    routes::{Limits, NextHop},
    sys,
};

/// The programs, built with this agent.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector"));

/// The programs for the ingress of each kind of link.
pub(super) const INGRESS: [&str; 3] = ["tc_ingress", "tc_ingress_port", "tc_ingress_l3"];

/// The program that holds a place for one of them.
pub(super) const IDLE: &str = "tc_ingress_idle";

/// The mark on packets that are to be delivered on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    /// One bit: value and mask.
    pub mark: u32,
    /// The mark of a packet that came by another captured interface before; 0 where none is to be known by it.
    pub seen: u32,
}

impl Marking {
    /// With one bit, by which a packet is known too.
    pub const fn new(mark: u32) -> Self {
        Self { mark, seen: mark }
    }
}

/// The programs in the kernel, with their maps and links. Dropping it detaches everything.
pub struct Datapath {
    pub(super) ebpf: Ebpf,
    pub(super) interfaces: Attachments,
    pub(super) sk_lookup: Option<SkLookupLink>,
    /// Links of interfaces that are gone.
    pub(super) defunct: Defunct,
    /// What stands in `LOCALS`.
    pub(super) locals: Locals,
    /// What `NEXT_HOPS` is about, and what was written there.
    pub(super) next_hops: BTreeMap<u32, (NextHop, Option<NextHopEntry>)>,
    settings: Settings,
}

impl Datapath {
    /// Loads the programs into the kernel.
    ///
    /// # Errors
    ///
    /// The kernel refused, for lack of privilege or of a feature.
    pub fn load(limits: &Limits, marking: Marking) -> Result<Self> {
        let transparent = transparent::flag().context("find the IP_TRANSPARENT flag of a socket")?;
        let mut ebpf = EbpfLoader::new()
            .override_global("TRANSPARENT_BYTE", &transparent.byte, true)
            .override_global("TRANSPARENT_MASK", &transparent.mask, true)
            .map_max_entries("ROUTES", limits.routes)
            .map_max_entries("ROUTE_STATS", limits.routes)
            .map_max_entries("ROUTE_NAMES", limits.routes)
            .map_max_entries("PREFIXES", limits.prefixes.saturating_mul(TRIE_ROOM))
            .map_max_entries("SOURCES", limits.sources.saturating_mul(TRIE_ROOM))
            .map_max_entries("PROXIES", limits.proxies)
            .map_max_entries("LISTENERS", limits.proxies * LISTENERS_PER_PROXY)
            .load(OBJECT)
            .context("load the maps")?;
        for name in INGRESS.into_iter().chain([IDLE, "learn_listener"]) {
            loaded(name, classifier(&mut ebpf, name)?.load())?;
        }
        loaded("sk_lookup", sk_lookup(&mut ebpf)?.load())?;

        let settings = Settings {
            version: LAYOUT_VERSION,
            mark: marking.mark,
            locals_seed: 0,
            seen: marking.seen,
            netns_cookie: sys::netns_cookie().context("ask for the network namespace's cookie")?,
        };
        let mut datapath = Self {
            ebpf,
            interfaces: Attachments::default(),
            sk_lookup: None,
            defunct: Defunct::new(),
            locals: Locals::default(),
            next_hops: BTreeMap::new(),
            settings,
        };
        datapath.write_settings()?;
        datapath.keep_route_names()?;
        datapath.own_idle()?;
        Ok(datapath)
    }

    /// Lets the program that uses no map be known as ours too.
    fn own_idle(&mut self) -> Result<()> {
        let program = self.classifier(IDLE)?.fd()?.try_clone()?;
        let Map::Array(map) = map_mut(&mut self.ebpf, "REDIRECTOR")? else { bail!("REDIRECTOR is no array") };
        sys::links::bind_map(program.as_fd(), map.fd().as_fd()).context("bind REDIRECTOR")
    }

    /// Verified instructions of each program, as the kernel counts them.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn verified_instructions(&self) -> Result<Vec<(String, u32)>> {
        let mut programs = Vec::new();
        for (name, program) in self.ebpf.programs() {
            let info = program.info().with_context(|| format!("describe program {name}"))?;
            programs.push((name.to_owned(), info.verified_instruction_count().unwrap_or(0)));
        }
        programs.sort();
        Ok(programs)
    }

    /// Sets the seed of the hash by which `LOCALS` is laid out.
    pub(super) fn set_locals_seed(&mut self, seed: u32) -> Result<()> {
        self.settings.locals_seed = seed;
        self.write_settings()
    }

    pub(super) fn locals_seed(&self) -> u32 {
        self.settings.locals_seed
    }

    fn write_settings(&mut self) -> Result<()> {
        let mut map: Array<&mut MapData, Settings> = Array::try_from(map_mut(&mut self.ebpf, "REDIRECTOR")?)?;
        map.set(0, self.settings, 0).context("write the settings")
    }

    /// A program for test runs.
    ///
    /// # Errors
    ///
    /// There is no classifier of that name.
    pub fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        classifier(&mut self.ebpf, name)
    }

    /// The maps and programs as aya sees them, for tests and benchmarks.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        if let Err(error) = self.give_up().and(self.detach(|_| {})) {
            tracing::error!("detach the programs: {error:#}");
        }
    }
}

/// How many times its limit a trie has room for: while routes change, what is and what is to be both stand in it. It takes memory
/// for what is in it only.
pub(super) const TRIE_ROOM: u32 = 2;

/// Tells a kernel that refuses the program from a user who may not load it: both are EACCES. Where there is a
/// verifier's log, thousands of lines, its last two say why.
pub(super) fn loaded(name: &str, result: Result<(), ProgramError>) -> Result<()> {
    let result = match result {
        // Without it the verifier forbids what every program of ours does, and calls that the program's fault.
        Err(ProgramError::LoadError { io_error, .. }) if !sys::has_cap_perfmon() => {
            Err(anyhow::Error::new(io_error))
        }
        Err(ProgramError::LoadError { verifier_log, .. }) if !verifier_log.to_string().trim().is_empty() => {
            let log = verifier_log.to_string();
            tracing::debug!(program = name, "verifier log:\n{log}");
            let lines: Vec<_> = log.trim().lines().collect();
            let last = lines[lines.len().saturating_sub(2)..].join("; ");
            Err(anyhow::Error::new(VerifierRefusal(last)))
        }
        result => result.map_err(anyhow::Error::from),
    };
    result.with_context(|| format!("load program {name}"))
}

/// The kernel's verifier refused a program: a fault of ours, or of this kernel's.
#[derive(Debug)]
pub struct VerifierRefusal(String);

impl std::fmt::Display for VerifierRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the kernel's verifier refused it: {}", self.0)
    }
}

impl std::error::Error for VerifierRefusal {}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

pub(super) fn sk_lookup(ebpf: &mut Ebpf) -> Result<&mut SkLookup> {
    let program = ebpf.program_mut("sk_lookup").context("the object has no program sk_lookup")?;
    Ok(program.try_into()?)
}

/// A map by its name in the programs.
pub(super) fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map> {
    ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))
}
