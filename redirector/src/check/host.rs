//! What others have on this host that meets a steered packet: NAT, firewalls, rules and routes.

use anyhow::Result;

use super::marks;
use crate::{
    agent::report::count,
    finding::Finding,
    host::{NetfilterMode, RoutingEntry, netfilter, routing_entries},
    settings::Settings,
    status::accept_rules,
};

/// Looks at netfilter, then at the rules and routes.
pub fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![nat(settings.netfilter), ipvs(), input(settings.routing.mark)];
    match routing_entries(&[settings.routing.table]) {
        Ok(entries) => {
            let others: Vec<_> = entries.into_iter().filter(|entry| !entry.ours).collect();
            findings.extend(marks::overlap(settings.routing.mark, &others));
            findings.push(priorities(settings, &others));
            findings.push(table(settings, &others));
        }
        Err(error) => findings.push(Finding::failed("rule-priority", &error.into())),
    }
    findings
}

fn nat(mode: NetfilterMode) -> Finding {
    told("nat-present", netfilter::nat_present(), |nat| {
        if nat.is_empty() {
            return Finding::ok("nat-present", "no NAT on this host");
        }
        let nat = nat.join(", ");
        match mode {
            NetfilterMode::Off => {
                Finding::warn("nat-present", format!("NAT may take steered connections elsewhere: {nat}"))
                    .fix("leave `netfilter` at auto")
            }
            _ => Finding::ok(
                "nat-present",
                format!("NAT, which the agent keeps away from what it steers: {nat}"),
            ),
        }
    })
}

fn ipvs() -> Finding {
    let services = netfilter::ipvs_services();
    if services.is_empty() {
        return Finding::ok("ipvs", "no IPVS services");
    }
    let more = services.len() - 1;
    Finding::warn("ipvs", format!("IPVS takes connections to its services: {} and {more} more", services[0]))
        .fix("route what IPVS does not serve, or run kube-proxy in nftables or iptables mode")
}

fn input(mark: u32) -> Finding {
    told("input-drop", netfilter::dropping_inputs(), |chains| {
        if chains.is_empty() {
            return Finding::ok("input-drop", "no INPUT chain of nftables drops by policy");
        }
        let what = format!("drops what no rule accepts, steered connections too: {}", chains.join(", "));
        accept_rules(mark, &chains).into_iter().fold(Finding::warn("input-drop", what), Finding::fix)
    })
}

fn priorities(settings: &Settings, others: &[RoutingEntry]) -> Finding {
    let first = settings.routing.priority;
    let ours = first..=first + 2;
    let taken = |entry: &&RoutingEntry| entry.rule.as_ref().is_some_and(|rule| ours.contains(&rule.priority));
    let taken: Vec<_> = others.iter().filter(taken).map(ToString::to_string).collect();
    if taken.is_empty() {
        return Finding::ok("rule-priority", format!("{first} to {} are free or ours", first + 2));
    }
    Finding::fail("rule-priority", format!("taken: {}", taken.join("; ")))
        .fix("set `rule_priority` to the first of three free ones, before those of other rules on marks")
}

fn table(settings: &Settings, others: &[RoutingEntry]) -> Finding {
    let table = settings.routing.table;
    let routes = others.iter().filter(|entry| entry.rule.is_none()).count();
    let rules = |entry: &&RoutingEntry| entry.rule.is_some() && entry.table == table;
    let rules: Vec<_> = others.iter().filter(rules).map(ToString::to_string).collect();
    match (routes, rules.is_empty()) {
        (0, true) => Finding::ok("route-table", format!("table {table} is free or ours")),
        (0, false) => Finding::fail("route-table", format!("leads into our table: {}", rules.join("; ")))
            .fix("set `table` to a free number"),
        _ => Finding::fail("route-table", format!("table {table} has {} of others", count(routes, "route")))
            .fix(format!(
                "set `table` to a free number (`ip route show table {table}` shows whose these are)"
            )),
    }
}

/// A finding of what netfilter told, or that it did not.
pub fn told<T>(id: &'static str, answer: Result<T>, finding: impl FnOnce(T) -> Finding) -> Finding {
    match answer {
        Ok(answer) => finding(answer),
        Err(error) => Finding::warn(id, format!("cannot be told: {error:#}")).fix("check again as root"),
    }
}
