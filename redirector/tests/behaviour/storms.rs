//! Very many interfaces that come at once: each is captured at once, where that takes no grace period, and moved when there is time.

use std::fmt::Write as _;

use nix::sys::signal::Signal;

use crate::support::{
    Agent, Listener, Netns, World, in_world_at,
    kernel::needs_tcx,
    snapshot::until,
    turnover::turn_over,
    world::{FAMILIES, Hook, PORT, PROXY_PORT},
};

const ROUTE: &str = "all:8080=proxy:15001";

/// Pairs that come at once, of which both ends are captured.
const PAIRS: usize = 40;

/// An agent that captures what it chooses to, and then has the pairs and the link to a client come at once.
fn storm(world: &World) -> (Agent, Netns) {
    let agent = world.agent_at("to-c*", &[ROUTE]);
    agent.signal(Signal::SIGSTOP);
    let mut lines = String::new();
    for n in 0..PAIRS {
        writeln!(lines, "link add to-c{n}a up type veth peer name to-c{n}b").expect("write a string");
    }
    world.node.ip(&lines);
    let later = Netns::new("later");
    world.link(&later, "to-comer", "10.0.4", "2001:db8:4::");
    (agent, later)
}

/// Waits until the agent has said so of that many interfaces.
fn wait_for(agent: &Agent, number: usize, what: &str) {
    let is_it = |line: &str| line.starts_with("interface to-c") && line.ends_with(what);
    agent.wait_for_nth(number, what, is_it);
}

#[test]
fn interfaces_that_come_together_are_captured_at_once_and_moved_to_tcx_while_connections_go_on() {
    if !needs_tcx() {
        return;
    }
    in_world_at(Hook::Auto, |world| {
        let _proxy = FAMILIES
            .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).closing()));
        let (agent, later) = storm(world);
        // Somebody else's, where ours comes for a while.
        let others = "filter add dev to-comer ingress protocol all pref 7 u32 match u32 0 0 flowid 1:1";
        world.node.output("tc qdisc add dev to-comer clsact");
        world.node.output(&format!("tc {others}"));
        let theirs = world.node.output("tc filter show dev to-comer ingress");
        agent.signal(Signal::SIGCONT);
        wait_for(&agent, 2 * PAIRS + 1, ": captured at clsact ingress");
        let mut connections = 0;
        while !agent.said().iter().any(|line| line == "interface to-comer: moved to tcx ingress") {
            for family in FAMILIES {
                for address in [family.service(), family.node()] {
                    let turnover = turn_over(&later, (address, PORT).into(), "proxy", 4);
                    assert!(turnover.failures.is_empty(), "{:?}", turnover.failures);
                    connections += u64::from(turnover.count);
                }
            }
        }
        wait_for(&agent, 2 * PAIRS + 1, ": moved to tcx ingress");
        world.redirector("status").assert_says(&["tc_ingress first at tcx ingress"]);
        let filters = world.node.output("tc filter show dev to-comer ingress");
        assert_eq!(filters, theirs);
        let qdiscs = world.node.output("tc qdisc");
        assert_eq!(qdiscs.matches("clsact").count(), 1, "{qdiscs}");
        for family in FAMILIES {
            let turnover = turn_over(&later, (family.server(), PORT).into(), "proxy", 1);
            assert!(turnover.failures.is_empty(), "{:?}", turnover.failures);
        }
        let summary = agent.stop();
        assert_eq!(
            (summary.connections("all"), summary.lost("all")),
            (connections + 2, 0),
            "each counted once"
        );
    });
}

#[test]
fn what_an_agent_leaves_that_is_killed_before_it_has_moved_all_goes_with_the_next_or_by_cleanup() {
    if !needs_tcx() {
        return;
    }
    for cleaned in [true, false] {
        in_world_at(Hook::Auto, |world| {
            let _proxy = world.proxy();
            let (agent, later) = storm(world);
            agent.signal(Signal::SIGCONT);
            wait_for(&agent, 2 * PAIRS + 1, ": captured at clsact ingress");
            agent.kill();
            let left = world.node.output("tc qdisc");
            assert!(left.contains("clsact"), "{left}");
            if cleaned {
                world.redirector("cleanup").assert_code(0).assert_says(&["at to-comer clsact ingress"]);
            } else {
                let agent = world.agent_at("to-c*", &[ROUTE]);
                for family in FAMILIES {
                    world.assert_reaches_from(&later, (family.server(), PORT), "proxy");
                }
                until("all are at TCX", || {
                    let qdiscs = world.node.output("tc qdisc");
                    (!qdiscs.contains("clsact")).then_some(())
                });
                agent.stop();
            }
            world.redirector("cleanup").assert_code(0).assert_says(&["nothing of ours is here"]);
            let left = world.node.output("tc qdisc");
            assert!(!left.contains("clsact"), "{left}");
        });
    }
}

#[test]
fn an_agent_that_is_to_use_tcx_alone_adds_no_qdisc_in_a_storm() {
    if !needs_tcx() {
        return;
    }
    in_world_at(Hook::Tcx, |world| {
        let _proxy = world.proxy();
        let (agent, later) = storm(world);
        agent.signal(Signal::SIGCONT);
        wait_for(&agent, 2 * PAIRS + 1, ": captured at tcx ingress");
        assert!(!agent.said().iter().any(|line| line.contains("clsact")));
        for family in FAMILIES {
            world.assert_reaches_from(&later, (family.server(), PORT), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn at_its_end_an_agent_gives_all_traffic_up_before_it_takes_its_programs_off() {
    if !needs_tcx() {
        return;
    }
    in_world_at(Hook::Tcx, |world| {
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let (mut agent, later) = storm(world);
        agent.signal(Signal::SIGCONT);
        wait_for(&agent, 2 * PAIRS + 1, ": captured at tcx ingress");
        for family in FAMILIES {
            world.assert_reaches_from(&later, (family.server(), PORT), "proxy");
        }
        agent.signal(Signal::SIGTERM);
        // Said while it takes them off, of which each takes milliseconds.
        let line = agent.wait_for("ending: nothing is redirected any more");
        assert!(line.contains("interfaces left") || line.contains("1 interface left"), "{line}");
        for family in FAMILIES {
            world.assert_reaches_from(&later, (family.server(), PORT), "server");
            world.assert_reaches((family.server(), PORT), "server");
        }
        assert!(agent.wait().success());
    });
}
