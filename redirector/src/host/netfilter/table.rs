//! The nft tables of ours, one for each family: how they come and go.
//!
//! A family each, not one table `inet`: that would switch on connection tracking of IPv6 on a host whose NAT is all
//! IPv4 (net/netfilter/nft_ct.c takes both for it), and the other way round.
//!
//! An agent owns its tables (NFT_TABLE_F_OWNER): they are gone when its socket is closed, however it ends, and nobody
//! else can change them: `nft flush ruleset` passes them over, `nft delete table` is refused
//! (net/netfilter/nf_tables_api.c, nft_table_has_owner). Where the datapath is to outlive the agent they have no owner.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use super::{
    NetfilterMode,
    attributes::{Attributes, Reader},
    contents::{Chain, Kind, NAME, chains},
    message::Message,
    nfnetlink::{Change, Nfnetlink},
    nftables::{self, chain, family, kind, rule, table},
};

/// By what a table without an owner is known to be ours.
const COMMENT: &str = "steered connections keep their destination";

/// The tables of an agent.
pub struct Tables {
    kind: Kind,
    mark: u32,
    owned: bool,
    /// The owner.
    socket: Nfnetlink,
    families: BTreeSet<u8>,
}

impl Tables {
    /// None yet. With `owned` they go when this goes.
    pub fn new(kind: Kind, mark: u32, owned: bool) -> Result<Self> {
        let socket = Nfnetlink::open().context("open a netfilter socket")?;
        Ok(Self { kind, mark, owned, socket, families: BTreeSet::new() })
    }

    /// The families that have a table.
    pub fn families(&self) -> &BTreeSet<u8> {
        &self.families
    }

    /// Sees to it that these families have a table, and no other; what an earlier agent left is replaced.
    ///
    /// # Errors
    ///
    /// Somebody else's table has the name, or the kernel refused; then nothing is changed.
    pub fn set(&mut self, families: &BTreeSet<u8>) -> Result<()> {
        let found = self.found(families)?;
        let stays = |family: &u8| self.families.contains(family) && families.contains(family);
        let present: BTreeSet<u8> = found.iter().map(|table| table.family).filter(stays).collect();
        let deleted = found.iter().filter(|table| !present.contains(&table.family));
        let mut changes: Vec<Change> = deleted.map(|table| delete(table.family)).collect();
        changes.extend(families.difference(&present).flat_map(|family| self.create(*family)));
        if !changes.is_empty() {
            self.socket.batch(changes)?;
        }
        self.families.clone_from(families);
        Ok(())
    }

    /// Puts back what others have removed, and tells in which families.
    pub fn repair(&mut self) -> Result<BTreeSet<u8>> {
        let wanted = self.families.clone();
        self.families.retain(|family| is_whole(*family, self.kind));
        let missing: BTreeSet<u8> = wanted.difference(&self.families).copied().collect();
        if !missing.is_empty() {
            // Should this fail the next repair is to miss them too.
            let result = self.set(&wanted);
            self.families = wanted;
            result?;
        }
        Ok(missing)
    }

    /// The tables of our name that this may change.
    fn found(&self, wanted: &BTreeSet<u8>) -> Result<Vec<Found>> {
        /// How often it is looked again: an agent that was killed may hold its lock no longer, and its tables still.
        const TRIES: u32 = 100;
        for left in (0..TRIES).rev() {
            let mut tables = Found::list()?;
            tables.retain(|table| wanted.contains(&table.family) || table.is_ours());
            if let Some(table) = tables.iter().find(|table| !table.is_ours()) {
                bail!(
                    "nft table {0} {NAME} is not ours (see `nft list table {0} {NAME}`)",
                    family::word(table.family)
                );
            }
            if tables.iter().all(|table| table.owner.is_none_or(|owner| owner == self.socket.port())) {
                return Ok(tables);
            }
            if left > 0 {
                thread::sleep(Duration::from_millis(10));
            }
        }
        bail!("another process owns the nft table {NAME}")
    }

    /// What makes the table of a family.
    fn create(&self, family: u8) -> Vec<Change> {
        let flags = if self.owned { table::OWNED } else { 0 };
        let comment = [&[COMMENT_TYPE, COMMENT.len() as u8 + 1], COMMENT.as_bytes(), &[0]].concat();
        let attributes = Attributes::new()
            .with_text(table::NAME, NAME)
            .with_u32(table::FLAGS, flags)
            .with(table::USER_DATA, &comment);
        let mut changes = vec![change("add the nft table", kind::NEW_TABLE, family, &attributes, NLM_F_EXCL)];
        for Chain { name, kind, hook, priority, rules } in chains(self.kind, self.mark, family) {
            let at = Attributes::new()
                .with_u32(chain::HOOK_NUMBER, hook)
                .with_u32(chain::PRIORITY, priority.cast_unsigned());
            let attributes = Attributes::new()
                .with_text(chain::TABLE, NAME)
                .with_text(chain::NAME, name)
                .with_nested(chain::HOOK, &at)
                .with_text(chain::TYPE, kind);
            changes.push(change("add the nft chain", kind::NEW_CHAIN, family, &attributes, NLM_F_EXCL));
            for rule in &rules {
                let attributes = Attributes::new()
                    .with_text(rule::TABLE, NAME)
                    .with_text(rule::CHAIN, name)
                    .with_nested(rule::EXPRESSIONS, rule.expressions());
                changes.push(change("add a rule to", kind::NEW_RULE, family, &attributes, NLM_F_APPEND));
            }
        }
        changes
    }
}

/// Which of our tables are there, whoever made them: asked of the kernel.
///
/// # Errors
///
/// The kernel's.
pub fn table_installed() -> Result<Option<NetfilterMode>> {
    if !Found::list()?.iter().any(Found::is_ours) {
        return Ok(None);
    }
    let names = nftables::list(kind::GET_CHAIN, |message| {
        let attributes = message.attributes();
        (attributes.text(chain::TABLE)? == NAME).then(|| attributes.text(chain::NAME).map(str::to_owned))?
    });
    let names = names.context("list nft chains")?;
    let identity = names.iter().any(|name| name == "identity");
    Ok(Some(if identity { NetfilterMode::Identity } else { NetfilterMode::Notrack }))
}

/// Removes what an agent left that is gone; whether there was anything.
///
/// # Errors
///
/// The kernel's.
pub fn remove_table() -> Result<bool> {
    let left = Found::list()?.into_iter().filter(|table| table.is_ours() && table.owner.is_none());
    let changes: Vec<Change> = left.map(|table| delete(table.family)).collect();
    if changes.is_empty() {
        return Ok(false);
    }
    Nfnetlink::open().context("open a netfilter socket")?.batch(changes)?;
    Ok(true)
}

/// A table of our name.
struct Found {
    family: u8,
    comment: Option<String>,
    /// Port of the socket that owns it.
    owner: Option<u32>,
}

impl Found {
    fn list() -> Result<Vec<Self>> {
        let tables = nftables::list(kind::GET_TABLE, |message| {
            let attributes = message.attributes();
            (attributes.text(table::NAME)? == NAME).then(|| Self {
                family: message.family,
                comment: attributes.get(table::USER_DATA).and_then(comment),
                owner: attributes.u32(table::OWNER),
            })
        });
        tables.context("list nft tables")
    }

    fn is_ours(&self) -> bool {
        self.comment.as_deref() == Some(COMMENT)
    }
}

/// The type of a comment in a table's user data (NFTNL_UDATA_TABLE_COMMENT of libnftnl): a byte each for type and
/// length, then the text, which ends in a zero byte.
const COMMENT_TYPE: u8 = 0;

fn comment(user_data: &[u8]) -> Option<String> {
    let [COMMENT_TYPE, length, text @ ..] = user_data else { return None };
    super::attributes::text(text.get(..usize::from(*length))?).map(str::to_owned)
}

/// Whether the table of a family has its chains and rules.
fn is_whole(family: u8, kind: Kind) -> bool {
    let count = |kind, table| {
        let ours = move |message: Message| {
            let is_ours = |attributes: Reader<'_>| attributes.text(table) == Some(NAME);
            (message.family == family && is_ours(message.attributes())).then_some(())
        };
        nftables::list(kind, ours).map_or(0, |found| found.len())
    };
    let expected = chains(kind, 0, family);
    count(kind::GET_CHAIN, chain::TABLE) == expected.len()
        && count(kind::GET_RULE, rule::TABLE) == expected.iter().map(|chain| chain.rules.len()).sum::<usize>()
}

fn delete(family: u8) -> Change {
    let attributes = Attributes::new().with_text(table::NAME, NAME);
    change("delete the nft table", kind::DELETE_TABLE, family, &attributes, 0)
}

fn change(what: &str, kind: u16, family: u8, attributes: &Attributes, flags: u16) -> Change {
    let flags = if flags == 0 { 0 } else { NLM_F_CREATE | flags };
    Change {
        what: format!("{what} {} {NAME}", family::word(family)),
        message: Message::new(kind, family, attributes),
        flags,
    }
}
