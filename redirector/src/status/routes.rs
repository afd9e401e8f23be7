//! What became of the routes' connections, and how much room is left.

use anyhow::Result;
use serde_json::json;

use crate::{
    agent::report::count,
    datapath::{Fill, FoundMaps, RouteTotals},
    finding::Finding,
    host,
};

/// A line for all routes, and one for each that lost connections or whose next hop is gone.
pub fn routes(maps: &FoundMaps) -> Result<Vec<Finding>> {
    let (mut steered, mut unavailable) = (0, 0);
    let mut listed = Vec::new();
    let mut losses = Vec::new();
    let routes = maps.routes()?;
    let (stats, mark) = (maps.route_stats()?, maps.settings()?.mark);
    for route in &routes {
        let (name, lost) = (route.name(), stats.lost(route)?);
        let RouteTotals { connections, unavailable: otherwise, .. } = route.totals;
        steered += if route.is_proxy() { connections as usize } else { 0 };
        unavailable += otherwise;
        listed.push(json!({
            "name": name, "connections": connections, "unavailable": otherwise, "lost": lost
        }));
        if lost > 0 {
            losses.push(loss(&name, lost, connections, mark));
        }
        if route.is_interface() && !maps.next_hop_is_up(route.entry.target)? {
            let what =
                format!("route {name}: its interface is down, or there is none: packets get its `else`");
            losses
                .push(Finding::warn("routes", what).fix("bring the interface up: the agent follows at once"));
        }
    }
    let mut what = format!("{}, {} steered", count(routes.len(), "route"), count(steered, "connection"));
    if unavailable > 0 {
        what += &format!(", {unavailable} got their route's `else`");
    }
    let mut findings = vec![Finding::ok("routes", what).facts(json!({ "routes": listed }))];
    findings.extend(losses);
    Ok(findings)
}

fn loss(name: &str, lost: u64, connections: u64, mark: u32) -> Finding {
    let what = format!(
        "route {name}: {lost} of {connections} steered connections never reached the proxy since the agent began"
    );
    let chains = host::netfilter::dropping_inputs().unwrap_or_default();
    let suspects = if chains.is_empty() { String::new() } else { format!(" ({})", chains.join(", ")) };
    let what = format!("{what}\na firewall's INPUT chain{suspects} drops them, most likely");
    let finding = accept_rules(mark, &chains).into_iter().fold(Finding::warn("routes", what), Finding::fix);
    finding.facts(json!({ "route": name, "lost": lost, "chains": chains }))
}

/// The rules that let in what is steered, for these chains, which are named by their tool (`nftables: inet filter
/// input`). Where none is known, for those that are customary.
pub fn accept_rules(mark: u32, chains: &[String]) -> Vec<String> {
    let nft = |chain: &str| format!("nft insert rule {chain} meta mark and {mark:#x} == {mark:#x} accept");
    let iptables = |tool: &str| format!("{tool} -I INPUT -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT");
    if chains.is_empty() {
        return vec![nft("inet filter input"), iptables("iptables"), iptables("ip6tables")];
    }
    let rule = |chain: &String| match chain.split_once(": ") {
        Some(("iptables-nft", _)) => iptables("iptables"),
        Some(("ip6tables-nft", _)) => iptables("ip6tables"),
        Some((_, chain)) => nft(chain),
        None => nft(chain),
    };
    chains.iter().map(rule).collect()
}

/// How full the maps are.
pub fn fill(maps: &FoundMaps) -> Result<Finding> {
    let fill = maps.fill(maps.routes()?.len())?;
    let texts: Vec<_> = fill.iter().map(|(name, fill)| format!("{name} {fill}")).collect();
    let full: Vec<_> = fill.iter().filter(|(_, fill)| is_nearly_full(*fill)).map(|(name, _)| *name).collect();
    let facts = fill.iter().map(|(name, fill)| {
        let Fill { entries, capacity } = fill;
        ((*name).to_owned(), json!({ "entries": entries, "capacity": capacity }))
    });
    let facts = json!({ "maps": serde_json::Map::from_iter(facts) });
    let finding = if full.is_empty() {
        Finding::ok("maps", texts.join(", "))
    } else {
        Finding::warn("maps", texts.join(", "))
            .fix(format!("raise the limit of {} in the settings", full.join(" and ")))
    };
    Ok(finding.facts(facts))
}

/// Nine tenths: a set of routes that does not fit is refused as a whole.
fn is_nearly_full(fill: Fill) -> bool {
    u64::from(fill.entries) * 10 > u64::from(fill.capacity) * 9
}

#[cfg(test)]
mod tests {
    use super::accept_rules;

    #[test]
    fn the_accepting_rule_is_in_the_words_of_the_tool_that_drops() {
        let rules = |chain: &str| accept_rules(0x2000, &[chain.to_owned()]);
        let nft = "nft insert rule inet filter input meta mark and 0x2000 == 0x2000 accept";
        assert_eq!(rules("nftables: inet filter input"), [nft]);
        assert_eq!(
            rules("ip6tables-nft: ip6 filter INPUT"),
            ["ip6tables -I INPUT -m mark --mark 0x2000/0x2000 -j ACCEPT"]
        );
        assert_eq!(accept_rules(0x2000, &[]).len(), 3, "all of them where none is known");
    }
}
