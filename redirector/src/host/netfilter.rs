//! Living with NAT on this host.
//!
//! Whatever translates the destination of what arrives would translate a steered SYN too, and the proxy would not get
//! it. An nft table of ours prevents that, where there is NAT and only there: connection tracking costs more than
//! everything that we do, and is never switched on where it was off.

mod attributes;
mod chains;
mod conntrack;
mod contents;
mod expressions;
mod legacy;
mod marks;
mod message;
mod nfnetlink;
mod nftables;
mod table;
mod watch;

use std::{collections::BTreeSet, future};

use anyhow::Result;
use redirector_common::Flow;

use chains::BaseChain;
use contents::{Kind, NAME};
use nftables::family;
use table::Tables;
use watch::Watch;

pub use chains::dropping_inputs;
pub use legacy::ipvs_services;
pub use marks::mark_users;
pub use table::{remove_table, table_installed};

/// How steered connections are kept out of the hands of NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NetfilterMode {
    /// As `identity` while the host has NAT, nothing while it has none.
    #[default]
    Auto,
    /// Translate each steered connection to the destination it has: the first translation is the only one.
    Identity,
    /// Keep steered connections, and their answers, out of connection tracking.
    Notrack,
    /// Nothing, whatever the host has.
    Off,
}

/// What is installed, and what is watched. Dropping it removes what is to go with the agent.
pub struct Netfilter {
    mode: NetfilterMode,
    tables: Option<Tables>,
    /// In `auto`.
    watch: Option<Watch>,
    /// In `auto`: the NAT that was there when it was last looked.
    nat: Vec<String>,
}

impl Netfilter {
    /// Installs what the mode and the host's NAT ask for. With `owned` it is gone when the agent is.
    ///
    /// # Errors
    ///
    /// Somebody else's table has our name, or the kernel's.
    pub fn install(mode: NetfilterMode, mark: u32, owned: bool) -> Result<Self> {
        let kind = match mode {
            // A kernel without netfilter has no NAT.
            NetfilterMode::Auto if nfnetlink::is_missing() => None,
            NetfilterMode::Auto | NetfilterMode::Identity => Some(Kind::Identity),
            NetfilterMode::Notrack => Some(Kind::Notrack),
            NetfilterMode::Off => None,
        };
        let mut netfilter = Self { mode, tables: None, watch: None, nat: Vec::new() };
        let Some(kind) = kind else {
            // What an agent left that is gone.
            remove_table()?;
            return Ok(netfilter);
        };
        netfilter.tables = Some(Tables::new(kind, mark, owned)?);
        if mode == NetfilterMode::Auto {
            // Watched before the host is read, so that no change is missed in between.
            netfilter.watch = Some(Watch::new()?);
        }
        netfilter.follow()?;
        Ok(netfilter)
    }

    /// Waits until what the mode asks for may have changed.
    pub async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => future::pending().await,
        }
    }

    /// Follows the host's NAT, and says on stderr what comes of it. `true` where steered connections are protected
    /// that were not before: translated ones are then to [make way](Self::make_way).
    ///
    /// # Errors
    ///
    /// As for [`Netfilter::install`].
    pub fn follow(&mut self) -> Result<bool> {
        let Some(tables) = &mut self.tables else { return Ok(false) };
        let (wanted, nat) = match self.mode {
            NetfilterMode::Auto => nat()?,
            _ => (BTreeSet::from([family::IP, family::IP6]), Vec::new()),
        };
        let before = tables.families().clone();
        tables.set(&wanted)?;
        if self.mode == NetfilterMode::Auto && nat != self.nat {
            match &nat[..] {
                [] => tracing::info!("netfilter: no NAT here any more; the nft table {NAME} is gone"),
                nat => tracing::info!(
                    "netfilter: NAT here ({}); steered connections keep their destination by the nft table {NAME}",
                    nat.join(", ")
                ),
            }
            self.nat = nat;
        }
        Ok(!wanted.is_subset(&before))
    }

    /// Whether steered connections are protected from NAT.
    pub fn is_active(&self) -> bool {
        self.tables.as_ref().is_some_and(|tables| !tables.families().is_empty())
    }

    /// Has connections that NAT has translated make way for new ones that are to be steered, where `is_steered` says
    /// so of their original destination. To be called when routes have become live.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn make_way(&self, is_steered: impl Fn(&Flow) -> bool) -> Result<()> {
        // Untracked packets meet no entry, and where we have no table nothing is to be done about NAT.
        let asked = matches!(self.mode, NetfilterMode::Auto | NetfilterMode::Identity);
        if !asked || self.tables.as_ref().is_none_or(|tables| tables.families().is_empty()) {
            return Ok(());
        }
        let count = conntrack::make_way(is_steered)?;
        if count > 0 {
            tracing::info!(
                "netfilter: connections translated before, which make way for steered ones: {count}"
            );
        }
        Ok(())
    }

    /// Puts back what others have removed, says so on stderr, and [follows](Self::follow) what no notice told of, with
    /// the same result.
    ///
    /// # Errors
    ///
    /// As for [`Netfilter::install`].
    pub fn repair(&mut self) -> Result<bool> {
        if let Some(tables) = &mut self.tables {
            for family in tables.repair()?.into_iter().map(family::word) {
                tracing::info!("netfilter: the nft table {family} {NAME} was removed by others; put back");
            }
        }
        self.follow()
    }
}

/// The NAT of this host that translates what arrives, each by a name that its tool knows: `iptables-nft: ip nat
/// PREROUTING`.
///
/// # Errors
///
/// The kernel's.
pub fn nat_present() -> Result<Vec<String>> {
    nat().map(|(_, names)| names)
}

/// The families in which the host has NAT, and where.
fn nat() -> Result<(BTreeSet<u8>, Vec<String>)> {
    let (mut families, mut names) = (BTreeSet::new(), Vec::new());
    for chain in BaseChain::list()?.into_iter().filter(BaseChain::is_nat) {
        match chain.family {
            family::INET => families.extend([family::IP, family::IP6]),
            family => families.extend([family]),
        }
        names.push(chain.to_string());
    }
    for family in legacy::nat() {
        families.insert(family);
        names.push(
            if family == family::IP { "iptables-legacy: ip nat" } else { "ip6tables-legacy: ip6 nat" }
                .to_owned(),
        );
    }
    Ok((families, names))
}
