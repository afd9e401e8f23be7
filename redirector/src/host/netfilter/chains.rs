//! The base chains of this host: where netfilter has a hook.

use anyhow::{Context as _, Result};

use super::{
    nfnetlink::Message,
    nftables::{self, chain, family, hook, message},
    table,
};

/// A chain that hangs on a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// NFPROTO_*.
    pub family: u8,
    table: String,
    name: String,
    /// `filter`, `nat` or `route`.
    kind: String,
    hook: u32,
    drops: bool,
}

impl BaseChain {
    /// All that are not ours.
    pub fn list() -> Result<Vec<Self>> {
        let chains = nftables::list(message::GET_CHAIN, Self::read).context("list nft chains")?;
        Ok(chains.into_iter().filter(|chain| chain.table != table::NAME).collect())
    }

    /// Whether it translates what arrives.
    pub fn is_nat(&self) -> bool {
        self.kind == "nat" && self.hook == hook::PREROUTING && self.is_ip()
    }

    /// Whether it drops what is for this host unless a rule accepts it.
    pub fn drops_input(&self) -> bool {
        self.drops && self.hook == hook::INPUT && self.is_ip()
    }

    /// In the families of others the hooks have other numbers.
    fn is_ip(&self) -> bool {
        matches!(self.family, family::INET | family::IP | family::IP6)
    }

    fn read(message: Message) -> Option<Self> {
        let attributes = message.attributes();
        let hook = attributes.nested(chain::HOOK);
        Some(Self {
            family: message.family,
            table: attributes.text(chain::TABLE)?.to_owned(),
            name: attributes.text(chain::NAME)?.to_owned(),
            kind: attributes.text(chain::TYPE)?.to_owned(),
            hook: hook.u32(chain::HOOK_NUMBER)?,
            drops: attributes.u32(chain::POLICY) == Some(0),
        })
    }
}

impl std::fmt::Display for BaseChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name(self.family, &self.table, &self.name))
    }
}

/// A chain as its user knows it: whose it is, and what `nft list chain` takes.
pub fn name(family: u8, table: &str, chain: &str) -> String {
    format!("{}: {} {table} {chain}", tool(family, table, chain), family::word(family))
}

/// Whose tables these are. iptables-nft makes those that iptables has, by the same names; others could too.
fn tool(family: u8, table: &str, chain: &str) -> &'static str {
    let is_table = ["nat", "filter", "mangle", "raw", "security"].contains(&table);
    let is_chain = chain.chars().all(|letter| !letter.is_ascii_lowercase());
    match family {
        family::IP if is_table && is_chain => "iptables-nft",
        family::IP6 if is_table && is_chain => "ip6tables-nft",
        _ => "nftables",
    }
}
