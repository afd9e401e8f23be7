//! Takes away whatever of ours is in this network namespace, and nothing else. No agent and no file is needed.

use std::{fmt, fs, io};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    datapath::{Chain, Found, Hook, Member, Pin},
    failure::{Exit, Failure},
    host::{self, Filter, Lock, RoutingEntry, netfilter, qdisc},
    sys::links,
};

/// A thing of ours.
#[derive(Debug)]
pub enum Thing {
    /// A program at a hook, attached by a link.
    Link {
        /// What is attached where.
        what: String,
        /// The link.
        link: u32,
    },
    /// A filter.
    Filter {
        /// What is attached where.
        what: String,
        /// The filter.
        filter: Filter,
    },
    /// A clsact qdisc on which there is nothing but what is ours.
    Qdisc {
        /// Whose.
        interface: String,
        /// Its number.
        ifindex: u32,
    },
    /// A pin.
    Pin(Pin),
    /// A rule or a route.
    Routing(RoutingEntry),
    /// The nft table.
    Table,
}

/// What there is, in the order in which it goes: what steers first, then what it relies on.
///
/// # Errors
///
/// The caller may not look, or the kernel refused.
pub fn find() -> Result<Vec<Thing>, Failure> {
    let found = Found::look()?;
    let mut things = Vec::new();
    for chain in &found.chains {
        things.extend(
            chain
                .members
                .iter()
                .filter(|member| member.ours)
                .filter_map(|member| thing(member, format!("program {} at {}", member.name, chain.place()))),
        );
    }
    things.extend(unused_qdiscs(&found.chains));
    things.extend(
        found
            .sk_lookup
            .iter()
            .filter_map(|member| thing(member, format!("program {} at the network namespace", member.name))),
    );
    things.extend(found.pins.into_iter().map(Thing::Pin));
    let entries = host::routing_entries(&[])?;
    things.extend(entries.into_iter().filter(|entry| entry.ours).map(Thing::Routing));
    if netfilter::table_installed().map_err(Failure::from)?.is_some() {
        things.push(Thing::Table);
    }
    Ok(things)
}

/// Refuses to go on while an agent runs, and keeps one from starting meanwhile.
///
/// # Errors
///
/// An agent serves this network namespace.
pub fn lock() -> Result<Lock, Failure> {
    if let Some(agent) = host::running()? {
        let error = anyhow!("an agent serves this network namespace ({agent})");
        return Err(Failure::new(Exit::No, error).hint("end it first: it takes away what it has put there"));
    }
    Lock::take().map_err(Failure::from)
}

/// What is attached without a link or a filter was not attached by us.
fn thing(member: &Member, what: String) -> Option<Thing> {
    match (&member.filter, member.link) {
        (Some(filter), _) => Some(Thing::Filter { what, filter: filter.clone() }),
        (None, Some(link)) => Some(Thing::Link { what, link }),
        (None, None) => None,
    }
}

/// The qdiscs that hold filters of ours and nobody else's, in both directions.
fn unused_qdiscs(chains: &[Chain]) -> Vec<Thing> {
    let mut qdiscs = Vec::new();
    let clsact = |chain: &&Chain| chain.hook == Hook::Clsact;
    for chain in chains.iter().filter(clsact).filter(|chain| chain.position().is_some()) {
        let Chain { interface, .. } = chain;
        let mut there = chains.iter().filter(clsact).filter(|other| other.interface.index == interface.index);
        if there.all(|other| other.others(false).is_empty()) {
            qdiscs.push(Thing::Qdisc { interface: interface.name.clone(), ifindex: interface.index });
        }
    }
    qdiscs
}

impl Thing {
    /// Takes it away. What is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn remove(&self) -> Result<()> {
        let removed = match self {
            Self::Link { link, .. } => gone_is_fine(links::detach_link(*link)),
            Self::Filter { filter, .. } => gone_is_fine(filter.remove()),
            Self::Qdisc { ifindex, .. } => qdisc::remove_unused_clsact(*ifindex),
            Self::Pin(pin) => gone_is_fine(fs::remove_file(&pin.path)),
            Self::Routing(entry) => gone_is_fine(entry.remove()),
            Self::Table => netfilter::remove_table().map(drop),
        };
        removed.with_context(|| format!("remove {self}"))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { what, link } => write!(f, "{what} (link {link})"),
            Self::Filter { what, filter } => write!(f, "{what} (priority {})", filter.priority),
            Self::Qdisc { interface, .. } => write!(f, "qdisc clsact at {interface}"),
            Self::Pin(pin) => write!(f, "pin {} ({})", pin.path.display(), pin.what),
            Self::Routing(entry) => entry.fmt(f),
            Self::Table => f.write_str("nft table redirector"),
        }
    }
}

fn gone_is_fine(result: io::Result<()>) -> Result<()> {
    match result {
        // ENOLINK: what the link led to is gone.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::ENOLINK)
            ) =>
        {
            Ok(())
        }
        result => Ok(result?),
    }
}
