//! Whether the programs are where they belong, and who is before them.

use std::collections::BTreeMap;

use serde_json::json;

use super::Scene;
use crate::{datapath::Chain, finding::Finding, host};

/// Interfaces that are named before "and N more".
const NAMED: usize = 8;

impl Scene {
    /// A line for the interfaces where all is well, and one for each where it is not.
    pub fn hooks(&self) -> Vec<Finding> {
        // By program and hook: each kind of link has a program of its own.
        let mut well = BTreeMap::<(&str, String), Vec<&str>>::new();
        let mut findings = Vec::new();
        for chain in self.found.ours() {
            let before = self.found.before(chain);
            if before.is_empty() {
                let hook = format!("{} {}", chain.hook, chain.direction.word());
                well.entry((own(chain), hook)).or_default().push(&chain.interface.name);
                continue;
            }
            let what =
                format!("{}: {} sees packets only after {}", chain.place(), own(chain), before.join(", "));
            findings.push(
                Finding::warn("hook", what)
                    .fix("restart the agent: it attaches first (before a clsact filter of priority 1 it cannot)")
                    .facts(json!({ "place": chain.place(), "before": before })),
            );
        }
        let well = well.into_iter().map(|((name, hook), interfaces)| first_at(name, &hook, &interfaces));
        let mut findings: Vec<_> = well.chain(findings).collect();
        findings.extend(self.missing());
        findings.push(self.sk_lookup());
        findings
    }

    /// Interfaces that the agent captured and that exist, without a program of ours.
    fn missing(&self) -> Vec<Finding> {
        let captured = self.maps.as_ref().and_then(|maps| maps.captured().ok()).unwrap_or_default();
        let attached: Vec<u32> = self.found.ours().map(|chain| chain.interface.index).collect();
        let interfaces = host::interfaces().unwrap_or_default().into_iter();
        interfaces
            .filter(|interface| captured.contains(&interface.index) && !attached.contains(&interface.index))
            .map(|interface| {
                Finding::fail(
                    "hook",
                    format!("{}: captured, but no program of ours is attached", interface.name),
                )
                .fix("restart the agent; somebody took the program off")
                .facts(json!({ "interface": interface.name }))
            })
            .collect()
    }

    fn sk_lookup(&self) -> Finding {
        if self.found.sk_lookup.is_empty() {
            return Finding::fail(
                "hook",
                "the network namespace: sk_lookup is not attached, so nothing is steered",
            )
            .fix("start the agent again, or let `redirector cleanup` take away what is left");
        }
        Finding::ok("hook", "the network namespace: sk_lookup attached")
    }
}

fn first_at(name: &str, hook: &str, interfaces: &[&str]) -> Finding {
    let named = interfaces.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = interfaces.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let facts = json!({ "program": name, "hook": hook, "interfaces": interfaces });
    Finding::ok("hook", format!("{name} first at {hook} of {named}{more}")).facts(facts)
}

/// The name of our program in a chain.
fn own(chain: &Chain) -> &str {
    chain.position().map_or("", |position| &chain.members[position].name)
}
