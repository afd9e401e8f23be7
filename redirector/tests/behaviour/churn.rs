//! Very many interfaces that come and go: nothing of them stays.

use std::fs;

use redirector::datapath::Found;

use crate::support::{
    Agent, World, in_world_at, is_soak,
    world::{FAMILIES, Hook, PORT},
};

/// What an agent holds for the interfaces that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    bpf_links: usize,
    programs: usize,
    captured: usize,
}

impl Held {
    fn by(world: &World, agent: &Agent) -> Self {
        let kinds: Vec<_> = fs::read_dir(format!("/proc/{}/fd", agent.pid()))
            .expect("list the agent's descriptors")
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        // Called bpf_link until 6.11.
        let are = |what: &[&str]| {
            kinds.iter().filter(|kind| kind.to_str().is_some_and(|kind| what.contains(&kind))).count()
        };
        let found = world.node.run(|| Found::look().map_err(|failure| failure.to_string()));
        let maps = found.expect("look for programs").maps().expect("there are maps");
        Self {
            descriptors: kinds.len(),
            bpf_links: are(&["anon_inode:bpf_link", "anon_inode:bpf-link", "anon_inode:[bpf_link]"]),
            programs: are(&["anon_inode:bpf-prog"]),
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

/// How much it may grow with each interface of thousands, bytes: much less than is kept of one.
const SLOPE: f64 = 32.0;

/// By how much each value is larger than the one before, on the line that is nearest to all.
fn slope(values: &[u64]) -> f64 {
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let (mut rise, mut run) = (0.0, 0.0);
    for (n, value) in values.iter().enumerate() {
        rise += (n as f64 - middle) * *value as f64;
        run += (n as f64 - middle).powi(2);
    }
    rise / run
}

#[test]
fn of_interfaces_that_came_and_went_nothing_is_left() {
    for hook in [Hook::Auto, Hook::Tcx, Hook::Clsact] {
        in_world_at(hook, |world| {
            let _proxy = world.proxy();
            let agent = world.agent_at("to-c*", &["all:8080=proxy:15001", "9000=interface:to-c3a"]);
            let rounds = if is_soak() { 10_000 } else { 300 } / (2 * PAIRS);
            let at_start = Held::by(world, &agent);
            let mut resident = Vec::new();
            let begin = std::time::Instant::now();
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
                resident.push(memory(&agent));
            }
            let took = begin.elapsed();
            // The links of interfaces that are gone are closed aside.
            let since = std::time::Instant::now();
            while Held::by(world, &agent) != at_start && since.elapsed() < crate::support::DEADLINE {}
            assert_eq!(Held::by(world, &agent), at_start);
            let grown = memory(&agent).saturating_sub(resident[0]);
            // What is taken once is taken by then.
            let slope = slope(&resident[rounds / 2..]) * 1024.0 / (2 * PAIRS) as f64;
            println!(
                "{} interfaces in {:.0} s: {} KiB after the first round, {grown} KiB more at the end, {slope:.1} bytes more with each of the second half; {at_start:?}",
                rounds * 2 * PAIRS,
                took.as_secs_f64(),
                resident[0]
            );
            assert!(grown <= GROWTH, "the agent grew by {grown} KiB in {rounds} rounds");
            assert!(!is_soak() || slope <= SLOPE, "the agent grows by {slope} bytes with each interface");
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), "proxy");
            }
            agent.stop();
        });
    }
}
