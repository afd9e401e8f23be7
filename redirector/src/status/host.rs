//! Whether what the programs rely on is there: rules and routes on their mark, and the table that keeps NAT away.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::ValueEnum as _;
use serde_json::json;

use super::Scene;
use crate::{
    finding::Finding,
    host::{RoutingEntry, netfilter, routing_entries, rules_before},
};

impl Scene {
    /// The rules and the route of each family that the host speaks.
    pub fn routing(&self) -> Result<impl Iterator<Item = Finding> + use<>> {
        let entries = routing_entries(&[])?;
        let families: BTreeSet<_> = entries.iter().map(|entry| entry.family).collect();
        let ours: Vec<_> = entries.into_iter().filter(|entry| entry.ours).collect();
        let mark = self.maps.as_ref().and_then(|maps| Some(maps.settings().ok()?.mark));
        let before =
            match (mark, ours.iter().filter_map(|entry| entry.rule.as_ref()).map(|rule| rule.priority).min())
            {
                (Some(mark), Some(first)) => rules_before(first, mark)?,
                _ => Vec::new(),
            };
        let finding = match (self.agent, mark) {
            (Some(_), Some(mark)) => Some(complete(&ours, &families, mark)),
            _ if ours.is_empty() => None,
            _ => Some(
                Finding::warn(
                    "rules",
                    format!("{} rules and routes are left; no packet has their mark", ours.len()),
                )
                .fix("`redirector cleanup` takes them away"),
            ),
        };
        Ok(finding.into_iter().chain(order(&before)))
    }

    /// Whether NAT can take a steered connection elsewhere.
    pub fn netfilter(&self) -> Result<Finding> {
        let nat = netfilter::nat_present()?;
        let table = netfilter::table_installed()?;
        let mode = table.and_then(|mode| Some(mode.to_possible_value()?.get_name().to_owned()));
        let facts = json!({ "table": mode, "nat": nat });
        let finding = match (mode, nat.is_empty()) {
            (None, true) => Finding::ok("netfilter", "no NAT on this host, and no table of ours"),
            (Some(mode), true) => {
                Finding::ok("netfilter", format!("table redirector ({mode}), no NAT of others"))
            }
            (Some(mode), false) => Finding::ok(
                "netfilter",
                format!("table redirector ({mode}) keeps NAT away: {}", nat.join(", ")),
            ),
            (None, false) => Finding::warn(
                "netfilter",
                format!("NAT may take steered connections elsewhere: {}", nat.join(", ")),
            )
            .fix("run the agent with `--netfilter auto` (or identity, or notrack)"),
        };
        Ok(finding.facts(facts))
    }
}

/// Rules of others that are asked before ours.
fn order(before: &[RoutingEntry]) -> Option<Finding> {
    let names: Vec<_> = before.iter().map(ToString::to_string).collect();
    let what = format!("asked before ours, and may lead what is steered elsewhere: {}", names.join("; "));
    let fix = "set `rule_priority` to one before them, or to \"auto\", by which ours stay first";
    (!names.is_empty()).then(|| Finding::warn("rules", what).fix(fix))
}

/// Whether all three rules and the route are there in each family, on the programs' mark.
fn complete(ours: &[RoutingEntry], families: &BTreeSet<&str>, mark: u32) -> Finding {
    let mut tables = BTreeSet::new();
    let mut missing = Vec::new();
    for family in families {
        let own = || ours.iter().filter(move |entry| entry.family == *family);
        let rules = || own().filter_map(|entry| Some((entry, entry.rule.as_ref()?)));
        let on_mark = |wanted: bool| {
            rules().find(|(_, rule)| rule.mark == Some((mark, mark)) && rule.goto.is_some() == wanted)
        };
        let skip = on_mark(true);
        let end = skip.and_then(|(_, rule)| rule.goto);
        if skip.is_none() {
            missing.push(format!("{family}: the rule that leaves our own answers out"));
        } else if !rules().any(|(_, rule)| rule.mark.is_none() && Some(rule.priority) == end) {
            missing.push(format!("{family}: the rule that this one leads to"));
        }
        match on_mark(false) {
            None => missing.push(format!("{family}: the rule from mark {mark:#x} to the table")),
            Some((to_table, _)) => {
                tables.insert(to_table.table);
                if !own().any(|entry| entry.rule.is_none() && entry.table == to_table.table) {
                    missing.push(format!("{family}: the route in table {}", to_table.table));
                }
            }
        }
    }
    let facts = json!({ "mark": mark, "tables": tables, "missing": missing });
    let finding = if missing.is_empty() {
        let families: Vec<_> = families.iter().copied().collect();
        let tables: Vec<_> = tables.iter().map(u32::to_string).collect();
        Finding::ok(
            "rules",
            format!("{}: mark {mark:#x} leads to table {}", families.join(" and "), tables.join(", ")),
        )
    } else {
        Finding::fail("rules", format!("missing: {}", missing.join("; ")))
            .fix("the agent puts them back at once, or says why it cannot; if it does not, restart it")
    };
    finding.facts(facts)
}
