//! Hosts with the rules, marks and filters of what people run beside the redirector, set as docs/coexistence.md says.

use std::process::Command;

use crate::support::{
    Agent, World,
    agent::{BINARY, run_arguments},
    files::Directory,
    in_world,
    snapshot::Snapshot,
    world::{FAMILIES, Hook, PORT},
};

#[test]
fn rules_of_cilium_are_no_hindrance() {
    in_world(|world| {
        in_both(
            world,
            "rule add pref 100 lookup local
             rule delete pref 0
             rule add pref 9 fwmark 0x200/0xf00 lookup 2004
             rule add pref 10 fwmark 0xa00/0xf00 lookup 2005
             route add local default dev lo table 2004
             route add default via VIA table 2005",
        );
        assert_steers(world, "");
    });
}

#[test]
fn rules_of_calico_with_wireguard_are_no_hindrance() {
    in_world(|world| {
        in_both(
            world,
            "rule add pref 99 not fwmark 0x100000/0x100000 lookup 1
             route add NETWORK via VIA table 1",
        );
        assert_steers(world, "");
    });
}

#[test]
fn the_reverse_path_filter_of_calico_lets_marked_packets_pass() {
    in_world(|world| {
        for iptables in ["iptables", "ip6tables"] {
            world.node.output(&format!(
                "{iptables} -t raw -A PREROUTING -i to-client -m rpfilter --validmark --invert -j DROP"
            ));
        }
        assert_steers(world, "");
    });
}

#[test]
fn what_a_firewall_drops_on_its_way_to_the_proxy_is_shown_as_lost() {
    in_world(|world| {
        let _proxy = world.proxy();
        for iptables in ["iptables", "ip6tables"] {
            world.node.output(&format!("{iptables} -A INPUT -i to-client -p tcp -j DROP"));
        }
        let agent = world.agent(&[ROUTE]);
        for family in FAMILIES {
            world.assert_silent((family.service(), PORT));
        }
        let summary = agent.stop();
        assert!(summary.connections("all") >= 2);
        assert_eq!(summary.lost("all"), summary.connections("all"));
    });
}

#[test]
fn rules_of_tailscale_and_the_sysctl_that_it_sets_are_no_hindrance() {
    in_world(|world| {
        world.node.set_sysctl("ipv4/conf/all/src_valid_mark", "1");
        in_both(
            world,
            "rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
             rule add pref 5230 fwmark 0x80000/0xff0000 lookup default
             rule add pref 5250 fwmark 0x80000/0xff0000 type unreachable
             rule add pref 5270 lookup 52
             route add NETWORK via VIA table 52",
        );
        assert_steers(world, "");
    });
}

#[test]
fn rules_of_wg_quick_that_were_there_before_the_agent_are_no_hindrance() {
    in_world(|world| {
        add_wg_quick(world);
        assert_steers(world, "");
    });
}

#[test]
fn rules_of_wg_quick_that_come_later_take_foreign_destinations_until_ours_are_put_before_them() {
    in_world(|world| {
        let proxy = world.proxy();
        let agent = world.agent(&[ROUTE]);
        add_wg_quick(world);
        let warning = agent.wait_for("warning: asked before our rules");
        assert!(warning.contains("not fwmark 0xca6c/0xffffffff lookup 51820"), "{warning}");
        for family in FAMILIES {
            world.assert_silent((family.service(), PORT));
            world.assert_reaches((family.node(), PORT), "proxy");
        }
        let summary = agent.stop();
        assert_eq!(summary.lost("all"), summary.connections("all") - 2);
        drop(proxy);
        assert_steers(world, "## WireGuard");
    });
}

#[test]
fn where_the_priority_may_be_another_ours_stay_before_rules_that_come_later() {
    in_world(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let agent = world.agent_with(&[ROUTE], &["--rule-priority", "auto"]);
        add_wg_quick(world);
        agent.wait_for("repaired: our rules have priority 8");
        // One family's rules may have come after the other's were seen.
        for family in FAMILIES {
            world.assert_comes_to_reach((family.service(), PORT), "proxy");
        }
        for (ip, _, _) in IP {
            for rule in ["not fwmark 51820 table 51820", "table main suppress_prefixlength 0"] {
                world.node.output(&format!("{ip} rule delete {rule}"));
            }
            world.node.output(&format!("{ip} route delete default table 51820"));
        }
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

const ROUTE: &str = "all:8080=proxy:15001";

/// The families, as `ip` is told them; in each the network of the service, and the server.
const IP: [(&str, &str, &str); 2] =
    [("ip -4", "192.0.2.0/24", "10.0.3.2"), ("ip -6", "2001:db8:2::/64", "2001:db8:3::2")];

/// Runs commands of `ip` for both families; `NETWORK` stands for the service's, `VIA` for the server.
fn in_both(world: &World, lines: &str) {
    for (ip, network, server) in IP {
        for line in lines.lines() {
            world
                .node
                .output(&format!("{ip} {}", line.trim().replace("NETWORK", network).replace("VIA", server)));
        }
    }
}

/// What `wg-quick up` does for a tunnel with a default route. That there is no tunnel makes no difference to rules.
fn add_wg_quick(world: &World) {
    in_both(
        world,
        "route add default via VIA table 51820
         rule add not fwmark 51820 table 51820
         rule add table main suppress_prefixlength 0",
    );
}

/// Asserts that an agent steers everything, with the settings that a section of the document shows.
#[track_caller]
fn assert_steers(world: &World, section: &str) {
    const DOCUMENT: &str = include_str!("../../../docs/coexistence.md");
    let directory = Directory::new();
    let _proxy = world.proxy();
    let mut command: Command = world.node.command(BINARY);
    command.args(run_arguments(Hook::Auto, "to-client", &[ROUTE]));
    if !section.is_empty() {
        let (_, text) = DOCUMENT.split_once(&format!("\n{section}\n")).expect("the document has the section");
        let (_, text) = text.split_once("```toml\n").expect("the section shows settings");
        let (text, _) = text.split_once("```").expect("the settings end");
        command.arg("--config").arg(directory.write("redirector.toml", text));
    }
    let agent = Agent::spawn(command);
    agent.wait_until_ready();
    for family in FAMILIES {
        for address in [family.service(), family.node(), family.server()] {
            world.assert_reaches((address, PORT), "proxy");
        }
    }
    let summary = agent.stop();
    assert_eq!([summary.connections("all"), summary.lost("all")], [6, 0]);
}
