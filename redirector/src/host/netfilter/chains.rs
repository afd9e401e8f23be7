//! The base chains of this host: where netfilter has a hook.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::{
    attributes::Reader,
    contents::NAME,
    message::Message,
    nftables::{self, chain, family, hook, kind, rule},
};

/// Chains that refuse what is for this host unless a rule accepts it, by their policy or by their last rule: steered
/// connections need such a rule. Chains of iptables-legacy are not seen: only its own binary protocol tells of them.
///
/// # Errors
///
/// The kernel's.
pub fn dropping_inputs() -> Result<Vec<String>> {
    let mut chains = BaseChain::list()?;
    chains.retain(|chain| chain.hook == hook::INPUT && chain.is_ip());
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    let mut last_refuses = HashMap::new();
    // Rules are listed chain by chain, each in its order.
    let each = |message: Message| -> Option<()> {
        let attributes = message.attributes();
        let chain = name(message.family, attributes.text(rule::TABLE)?, attributes.text(rule::CHAIN)?);
        last_refuses.insert(chain, refuses_all(attributes.nested(rule::EXPRESSIONS)));
        None
    };
    nftables::list(kind::GET_RULE, each).context("list nft rules")?;
    let names = chains.iter().map(|chain| (chain.drops, chain.to_string()));
    let refusing = names.filter(|(drops, name)| *drops || last_refuses.get(name) == Some(&true));
    Ok(refusing.map(|(_, name)| name).collect())
}

/// Whether a rule refuses every packet that comes to it.
fn refuses_all(expressions: Reader<'_>) -> bool {
    let mut refuses = false;
    for (_, element) in expressions {
        let data = Reader(element).nested(rule::DATA);
        match Reader(element).text(rule::NAME) {
            Some("counter" | "log") => {}
            Some("reject") => refuses = true,
            Some("target") => refuses = data.text(rule::XT_NAME) == Some("REJECT"),
            Some("immediate") => {
                let verdict = data.nested(rule::IMMEDIATE_DATA).nested(rule::VERDICT).u32(rule::VERDICT_CODE);
                refuses = verdict == Some(0);
            }
            // A condition, or something that may end the rule.
            _ => return false,
        }
    }
    refuses
}

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
        let chains = nftables::list(kind::GET_CHAIN, Self::read).context("list nft chains")?;
        Ok(chains.into_iter().filter(|chain| chain.table != NAME).collect())
    }

    /// Whether it translates what arrives.
    pub fn is_nat(&self) -> bool {
        self.kind == "nat" && self.hook == hook::PREROUTING && self.is_ip()
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
