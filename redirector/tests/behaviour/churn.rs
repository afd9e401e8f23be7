//! Very many interfaces that come and go: nothing of them stays.

use std::fs;

use redirector::datapath::Found;

use crate::support::{
    Agent, World, at_each_hook, is_soak,
    world::{FAMILIES, PORT},
};

/// What an agent holds for the interfaces that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    bpf_links: usize,
    captured: usize,
}

impl Held {
    fn by(world: &World, agent: &Agent) -> Self {
        let kinds: Vec<_> = fs::read_dir(format!("/proc/{}/fd", agent.pid()))
            .expect("list the agent's descriptors")
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        // Called bpf_link until 6.11.
        let is_link = |kind: &&std::path::PathBuf| {
            matches!(kind.to_str(), Some("anon_inode:bpf_link" | "anon_inode:bpf-link"))
                || kind.to_string_lossy().starts_with("anon_inode:[bpf")
        };
        let found = world.node.run(|| Found::look().map_err(|failure| failure.to_string()));
        let maps = found.expect("look for programs").maps().expect("there are maps");
        Self {
            descriptors: kinds.len(),
            bpf_links: kinds.iter().filter(is_link).count(),
            captured: maps.captured().expect("read CAPTURED").len(),
        }
    }
}

/// Resident memory of a process, KiB.
fn memory(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("read its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Interfaces of one round, pairs of which both ends are captured.
const PAIRS: usize = 25;

/// How much an agent may grow, KiB, whatever the number of rounds: what allocators keep.
const GROWTH: u64 = 2048;

#[test]
fn of_interfaces_that_came_and_went_nothing_is_left() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("to-c*", &["all:8080=proxy:15001", "9000=interface:to-c3a"]);
        let rounds = if is_soak() { 10_000 } else { 300 } / (2 * PAIRS);
        let at_start = Held::by(world, &agent);
        let mut after_first = 0;
        for round in 1..=rounds {
            let name = |n: usize| format!("to-c{n}");
            let lines = (0..PAIRS).flat_map(|n| {
                let (name, third) = (name(n), round % 250);
                [
                    format!("link add {name}a type veth peer name {name}b"),
                    format!("address add 10.9.{third}.{n}/32 dev {name}a"),
                    format!("address add fd00::{third}:{n}/128 dev {name}a nodad"),
                    format!("link set {name}a up"),
                    format!("link set {name}b up"),
                ]
            });
            world.node.ip(&lines.collect::<Vec<_>>().join("\n"));
            let was = |end: &'static str| {
                move |line: &str| line.starts_with("interface to-c") && line.ends_with(end)
            };
            // And the one to the client.
            agent.wait_for_nth(round * 2 * PAIRS + 1, "captured", |line| {
                line.starts_with("interface to-c") && line.contains(": captured")
            });
            // In an order of the round's own: 7 and the number of pairs have no common divisor.
            let order = (0..PAIRS).map(|n| format!("link delete {}a", name((n * 7 + round) % PAIRS)));
            world.node.ip(&order.collect::<Vec<_>>().join("\n"));
            agent.wait_for_nth(round * 2 * PAIRS, "gone", was(": gone"));
            if round == 1 {
                after_first = memory(&agent);
            }
        }
        // The links of interfaces that are gone are closed aside.
        let begin = std::time::Instant::now();
        while Held::by(world, &agent) != at_start && begin.elapsed() < crate::support::DEADLINE {}
        assert_eq!(Held::by(world, &agent), at_start);
        let grown = memory(&agent).saturating_sub(after_first);
        println!("memory: {after_first} KiB after the first round, {grown} KiB more after {rounds}");
        assert!(grown <= GROWTH, "the agent grew by {grown} KiB in {rounds} rounds");
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        agent.stop();
    });
}
