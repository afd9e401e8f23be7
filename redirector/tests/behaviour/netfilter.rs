//! Beside NAT: connections that are steered are not translated, and others are as before.

use std::net::SocketAddr;

use crate::support::{
    Envoy, Netns, World, ask,
    envoy::is_here,
    in_world,
    nat::{TOOLS, Tool, tracks},
    snapshot::Snapshot,
    world::{FAMILIES, Family, PORT},
};

/// Everything to one port.
pub const ROUTES: &[&str] = &["all:8080=proxy:15001"];

/// Ways to live with NAT that protect steered connections from it.
pub const MODES: [&str; 3] = ["auto", "identity", "notrack"];

#[test]
fn steered_connections_reach_the_proxy_where_nat_was_there_before_the_agent() {
    for (tool, mode) in rows() {
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            world.translate(tool);
            assert_translated(&world.client);
            let agent = world.agent_beside_nat(mode, ROUTES);
            assert_steered_and_others_translated(world);
            let summary = agent.stop();
            assert_eq!([summary.unavailable("all"), summary.lost("all")], [0, 0]);
            assert_translated(&world.client);
        });
    }
}

#[test]
fn steered_connections_reach_the_proxy_where_nat_appears_after_the_agent() {
    for (tool, mode) in rows() {
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            let agent = world.agent_beside_nat(mode, ROUTES);
            for address in FAMILIES.map(|family| family.service()) {
                world.assert_reaches((address, PORT), "proxy");
            }
            world.translate(tool);
            if mode == "auto" {
                for family in FAMILIES {
                    let notice = |line: &str| {
                        line.starts_with("netfilter: NAT here") && line.contains(tool.name(family))
                    };
                    agent.wait_for_nth(1, "that there is NAT", notice);
                }
            }
            assert_steered_and_others_translated(world);
            let summary = agent.stop();
            assert_eq!([summary.unavailable("all"), summary.lost("all")], [0, 0]);
        });
    }
}

#[test]
fn nat_that_goes_takes_the_table_of_the_mode_auto_with_it() {
    in_world(|world| {
        let before = world.node.output("nft list ruleset");
        let agent = world.agent_beside_nat("auto", ROUTES);
        assert_eq!(world.node.output("nft list ruleset"), before, "nothing without NAT");
        for nth in 1..=2 {
            Tool::Nftables.translate(&world.node, service(FAMILIES[0]), server(FAMILIES[0]));
            agent.wait_for_nth(nth, "that there is NAT", |line| line.starts_with("netfilter: NAT here"));
            let tables = world.node.output("nft list tables");
            assert!(tables.contains("table ip redirector"), "{tables}");
            assert!(!tables.contains("table ip6 redirector"), "NAT of IPv4 alone: {tables}");
            assert_eq!(tracks(&world.node), [true, false]);
            world.node.output("nft delete table ip kube-proxy");
            agent.wait_for_nth(nth, "that NAT is gone", |line| line.starts_with("netfilter: no NAT here"));
            assert_eq!(world.node.output("nft list ruleset"), before);
        }
    });
}

#[test]
fn agents_leave_no_table_behind_however_they_end() {
    for mode in ["auto", "identity", "notrack", "off"] {
        for nat in [None, Some(Tool::IptablesNft), Some(Tool::IptablesLegacy)] {
            println!("--netfilter {mode}, NAT {nat:?}");
            in_world(|world| {
                let _servers = (world.proxy(), world.real_server(PORT));
                if let Some(tool) = nat {
                    world.translate(tool);
                }
                let before = Snapshot::take(&world.node);
                world.agent_beside_nat(mode, ROUTES).stop();
                before.assert_unchanged(&Snapshot::take(&world.node));
                world.agent_beside_nat(mode, ROUTES).kill();
                assert!(!world.node.output("nft list tables").contains("redirector"));
                world.agent_beside_nat(mode, ROUTES).stop();
                before.assert_unchanged(&Snapshot::take(&world.node));
            });
        }
    }
}

#[test]
fn nobody_else_can_remove_the_table() {
    in_world(|world| {
        let _servers = (world.proxy(), world.real_server(PORT));
        world.translate(Tool::IptablesLegacy);
        let agent = world.agent_beside_nat("auto", ROUTES);
        let ours = world.node.output("nft list table ip redirector");
        world.node.output("nft flush ruleset");
        for command in [
            "nft delete table ip redirector",
            "nft flush table ip redirector",
            "nft add rule ip redirector identity drop",
        ] {
            let (success, _, complaint) = world.node.try_output(command);
            assert!(!success && complaint.contains("Operation not permitted"), "{command}: {complaint}");
        }
        assert_eq!(world.node.output("nft list table ip redirector"), ours);
        assert_steered_and_others_translated(world);
        agent.stop();
    });
}

#[test]
fn envoy_connects_to_the_original_destination_which_nat_then_translates() {
    if !is_here() {
        return;
    }
    for (tool, mode) in rows() {
        in_world(|world| {
            let _real = world.real_server(PORT);
            let envoy = Envoy::start(world);
            world.translate(tool);
            let agent = world.agent_beside_nat(mode, ROUTES);
            for family in FAMILIES {
                for _ in 0..16 {
                    for address in [family.service(), family.node()] {
                        let answer = ask(&world.client, (address, PORT).into()).expect("it is answered");
                        assert_eq!((&*answer.name, answer.destination), ("server", server(family)));
                        // Envoy's own connection, and not one that was forwarded past it.
                        let own = [family.node_to_server(), family.node()];
                        assert!(own.contains(&answer.peer.ip()), "{answer:?}");
                    }
                }
                assert_eq!(envoy.accepted(family), 32);
            }
            let summary = agent.stop();
            assert_eq!([summary.connections("all"), summary.lost("all")], [64, 0]);
        });
    }
}

/// Every tool with every mode.
fn rows() -> impl Iterator<Item = (Tool, &'static str)> {
    let rows = TOOLS.into_iter().flat_map(|tool| MODES.map(|mode| (tool, mode)));
    rows.inspect(|(tool, mode)| println!("{tool:?}, --netfilter {mode}"))
}

/// The service, at the port that routes name.
pub fn service(family: Family) -> SocketAddr {
    (family.service(), PORT).into()
}

/// The real server, at the same port.
pub fn server(family: Family) -> SocketAddr {
    (family.server(), PORT).into()
}

/// Asserts that the client reaches the proxy, and the node itself what NAT makes of its destination.
#[track_caller]
fn assert_steered_and_others_translated(world: &World) {
    for family in FAMILIES {
        for _ in 0..8 {
            world.assert_reaches((family.service(), PORT), "proxy");
            world.assert_reaches((family.node(), PORT), "proxy");
        }
    }
    assert_translated(&world.node);
}

/// Asserts that connections from a namespace are translated.
#[track_caller]
fn assert_translated(from: &Netns) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            let answer = ask(from, (address, PORT).into()).expect("the server answers");
            assert_eq!((&*answer.name, answer.destination), ("server", server(family)), "at {address}");
        }
    }
}
