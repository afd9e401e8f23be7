//! The agent's beginnings and ends, and what they leave behind.

use nix::sys::signal::Signal;

use crate::support::{
    Connection, World, at_each_hook,
    snapshot::Snapshot,
    world::{FAMILIES, Hook, PORT},
};

#[test]
fn an_agent_that_is_told_to_end_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        at_each_hook(|world| {
            let _proxy = world.proxy();
            let before = Snapshot::take(&world.node);
            let agent = world.agent_at("to-*", ROUTES);
            assert_ne!(before, Snapshot::take(&world.node), "a running agent shows");
            assert_steered(world);
            agent.stop_by(signal);
            before.assert_unchanged(&Snapshot::take(&world.node));
        });
    }
}

#[test]
fn a_clsact_qdisc_that_was_there_or_is_used_by_others_stays() {
    at_each_hook(|world| {
        let node = &world.node;
        let _proxy = world.proxy();
        let filter = "filter add dev to-client egress protocol all pref 7 u32 match u32 0 0 flowid 1:1";
        // It was there.
        node.output("tc qdisc add dev to-client clsact");
        assert_leaves_nothing(world);
        // It was there, with somebody's filter.
        node.output(&format!("tc {filter}"));
        assert_leaves_nothing(world);
        node.output("tc qdisc delete dev to-client clsact");
        // The agent made it, and then somebody used it.
        let agent = world.agent(ROUTES);
        if world.hook == Hook::Tcx {
            node.output("tc qdisc add dev to-client clsact");
        }
        node.output(&format!("tc {filter}"));
        let used = node.output("tc filter show dev to-client egress");
        assert!(!used.is_empty());
        agent.stop();
        assert_eq!(node.output("tc filter show dev to-client egress"), used);
        assert_eq!(node.output("tc filter show dev to-client ingress"), "");
    });
}

#[test]
fn an_agent_that_was_killed_lets_traffic_pass_and_the_next_one_takes_over() {
    at_each_hook(|world| {
        let _real = world.real_server(PORT);
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        for _ in 0..3 {
            let agent = world.agent(ROUTES);
            assert_steered(world);
            agent.kill();
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), "server");
                world.assert_refused((family.node(), PORT));
            }
        }
        let agent = world.agent(ROUTES);
        assert_steered(world);
        let summary = agent.stop();
        assert_eq!(summary.lost("all"), 0);
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn established_connections_to_this_host_outlive_the_agent() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        for killed in [false, true] {
            let agent = world.agent(ROUTES);
            let mut connections = FAMILIES.map(|family| {
                Connection::open(&world.client, (family.node(), PORT).into()).expect("it is steered")
            });
            if killed {
                agent.kill();
            } else {
                agent.stop();
            }
            connections.iter_mut().for_each(Connection::assert_echoes);
        }
    });
}

#[test]
fn established_connections_to_foreign_addresses_go_on_under_the_next_agent() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(ROUTES);
        let mut connections = FAMILIES.map(|family| {
            Connection::open(&world.client, (family.service(), PORT).into()).expect("it is steered")
        });
        agent.stop();
        let agent = world.agent(ROUTES);
        connections.iter_mut().for_each(Connection::assert_echoes);
        agent.kill();
        let _agent = world.agent(ROUTES);
        connections.iter_mut().for_each(Connection::assert_echoes);
    });
}

const ROUTES: &[&str] = &["all:8080=proxy:15001", "10.0.3.0/24:9000-9100=drop from 10.0.0.0/8"];

#[track_caller]
fn assert_steered(world: &World) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            world.assert_reaches((address, PORT), "proxy");
        }
    }
}

#[track_caller]
fn assert_leaves_nothing(world: &World) {
    let before = Snapshot::take(&world.node);
    let agent = world.agent(ROUTES);
    assert_steered(world);
    agent.stop();
    before.assert_unchanged(&Snapshot::take(&world.node));
}
