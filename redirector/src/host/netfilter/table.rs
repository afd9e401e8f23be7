//! The nft tables of ours, one for each family: what is in them, and how they come and go.
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
    expressions::Rule,
    nfnetlink::{Change, Message, Nfnetlink},
    nftables::{self, chain, family, hook, message, rule, table},
};

/// The name of our tables.
pub const NAME: &str = "redirector";

/// By what a table without an owner is known to be ours.
const COMMENT: &str = "steered connections keep their destination";

/// What our tables do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first translation of a steered connection is to its own destination, and is the only one.
    Identity,
    /// Steered connections and their answers are not tracked.
    Notrack,
}

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
        let mut changes =
            vec![change("add the nft table", message::NEW_TABLE, family, &attributes, NLM_F_EXCL)];
        for Chain { name, kind, hook, priority, rules } in chains(self.kind, self.mark, family) {
            let at = Attributes::new()
                .with_u32(chain::HOOK_NUMBER, hook)
                .with_u32(chain::PRIORITY, priority.cast_unsigned());
            let attributes = Attributes::new()
                .with_text(chain::TABLE, NAME)
                .with_text(chain::NAME, name)
                .with_nested(chain::HOOK, &at)
                .with_text(chain::TYPE, kind);
            changes.push(change("add the nft chain", message::NEW_CHAIN, family, &attributes, NLM_F_EXCL));
            for rule in &rules {
                let attributes = Attributes::new()
                    .with_text(rule::TABLE, NAME)
                    .with_text(rule::CHAIN, name)
                    .with_nested(rule::EXPRESSIONS, rule.expressions());
                changes.push(change("add a rule to", message::NEW_RULE, family, &attributes, NLM_F_APPEND));
            }
        }
        changes
    }
}

/// A base chain of ours.
struct Chain {
    name: &'static str,
    kind: &'static str,
    hook: u32,
    priority: i32,
    rules: Vec<Rule>,
}

/// The chains of a table.
///
/// *Identity:* of all chains of type nat at a hook the first that translates a connection is the last
/// (net/netfilter/nf_nat_core.c, nf_nat_inet_fn): ours is before those at the usual -100.
///
/// *Notrack:* before connection tracking, which is at -200. Both ways must agree. Were an answer tracked whose
/// question was not, it would count as a new connection, and SO_ORIGINAL_DST would name the client. What arrives for
/// an address of this host has the mark at its SYN alone, so there both ways ask for the transparent socket. Marked
/// packets are not asked about: the look-up would run `sk_lookup`, which would give away what was handed over. Nor is
/// what arrives for others: where it has no socket the look-up finds the proxy's listener, and what is translated and
/// forwarded since before us would be untracked. A packet without a socket that answers for a foreign address, such
/// as the last ACK of a connection in TIME_WAIT before Linux 6.13 (79636038d37e, "ipv4: tcp: give socket pointer to
/// control skbs"), is known by that address.
fn chains(kind: Kind, mark: u32, family: u8) -> Vec<Chain> {
    const BEFORE_NAT: i32 = -110;
    const BEFORE_TRACKING: i32 = -300;
    match kind {
        Kind::Identity => vec![Chain {
            name: "identity",
            kind: "nat",
            hook: hook::PREROUTING,
            priority: BEFORE_NAT,
            rules: vec![Rule::new().marked(mark).keep_destination(family)],
        }],
        Kind::Notrack => {
            let chain =
                |name, hook, rules| Chain { name, kind: "filter", hook, priority: BEFORE_TRACKING, rules };
            let marked = Rule::new().marked(mark).untracked().accept();
            let local = Rule::new().tcp().to_local_address().of_transparent_socket().untracked();
            let transparent = Rule::new().tcp().of_transparent_socket().untracked().accept();
            let foreign = Rule::new().tcp().from_foreign_address().untracked();
            vec![
                chain("notrack-arriving", hook::PREROUTING, vec![marked, local]),
                chain("notrack-leaving", hook::OUTPUT, vec![transparent, foreign]),
            ]
        }
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
    let names = nftables::list(message::GET_CHAIN, |message| {
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
        let tables = nftables::list(message::GET_TABLE, |message| {
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
    count(message::GET_CHAIN, chain::TABLE) == expected.len()
        && count(message::GET_RULE, rule::TABLE) == expected.iter().map(|chain| chain.rules.len()).sum()
}

fn delete(family: u8) -> Change {
    let attributes = Attributes::new().with_text(table::NAME, NAME);
    change("delete the nft table", message::DELETE_TABLE, family, &attributes, 0)
}

fn change(what: &str, kind: u16, family: u8, attributes: &Attributes, flags: u16) -> Change {
    let flags = if flags == 0 { 0 } else { NLM_F_CREATE | flags };
    Change {
        what: format!("{what} {} {NAME}", family::word(family)),
        message: Message::new(kind, family, attributes),
        flags,
    }
}
