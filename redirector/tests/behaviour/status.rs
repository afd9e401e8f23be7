//! `redirector status`: how things stand, with an agent and without.

use nix::sys::signal::Signal;

use crate::support::{
    Listener, World,
    agent::BINARY,
    at_each_hook,
    command::{Outcome, paste},
    golden::assert_golden,
    in_world, in_world_at,
    kernel::needs_tcx,
    tap::{Place, Tap},
    world::{FAMILIES, Family, Hook, PORT, PROXY_PORT},
};

#[test]
fn with_an_agent_and_its_proxy_every_line_is_ok() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("to-*", ROUTES);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        let status = world.redirector("status");
        status.assert_code(0).assert_does_not_say(&["WARN"]).assert_does_not_say(&["FAIL"]);
        let hook = world.hook;
        status
            .assert_says(&["OK", "agent", &format!("running, pid {}", agent.pid())])
            .assert_says(&["OK", &format!("tc_ingress first at {hook} ingress of to-client, to-server")])
            .assert_says(&["OK", "sk_lookup attached"])
            .assert_says(&["OK", "rules", "IPv4 and IPv6: mark 0x2000 leads to table 8200"])
            .assert_says(&["OK", "netfilter", "no NAT on this host"])
            .assert_says(&["OK", "proxy", "127.0.0.1:15001: listening, transparent"])
            .assert_says(&["OK", "proxy", "[::1]:15001: listening, transparent"])
            .assert_says(&["OK", "routes", "2 connections steered"])
            .assert_says(&[
                "OK",
                "maps",
                "ROUTES 6 of 131072",
                "PREFIXES 1 of 262144",
                "SOURCES 1 of 65536",
                "PROXIES 1 of 256",
            ]);
        assert!(!status.stdout.contains('\x1b'), "no colour off a terminal");

        let colored = world.redirector("status --color always");
        assert!(colored.stdout.contains("\x1b["), "colour where it is asked for");

        let json = world.redirector("status -o json");
        let document: serde_json::Value =
            serde_json::from_str(json.assert_code(0).stdout.as_str()).expect("JSON");
        assert_eq!(document["version"], 1);
        let findings = document["findings"].as_array().expect("a list");
        assert_eq!(findings.len(), status.stdout.lines().count(), "the same facts");
        assert!(findings.iter().all(|finding| finding["level"] == "ok"));
        let routes = findings.iter().find(|finding| finding["id"] == "routes").expect("the routes");
        let named = |name: &str| {
            let routes = routes["facts"]["routes"].as_array().expect("a list");
            routes.iter().find(|route| route["name"] == name).cloned().unwrap_or_else(|| panic!("{routes:?}"))
        };
        assert_eq!(named("all")["connections"], 2);
        named("tcp/10.0.3.0/24:9000-9100 from 10.0.0.0/8");
        named("tcp/22");
        agent.stop();
    });
}

#[test]
fn the_screen_is_one_and_says_what_the_agent_alone_knows() {
    // It names the hook.
    if !needs_tcx() {
        return;
    }
    in_world(|world| {
        // Two workers in IPv4, as Envoy has them.
        let _proxies = [Family::V4, Family::V4, Family::V6]
            .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).sharing_port()));
        let agent = world.agent(&["web:8080=proxy:15001", "cut:192.0.2.0/24:9000-9100=drop"]);
        world.redirector("route add shop:192.0.2.20:8080=proxy:15001").assert_code(0);
        world.node.ip("rule del priority 92");
        agent.wait_for("repaired: ");
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        let status = world.redirector("status");
        let screen = status.assert_code(0).stdout.replace(&format!("pid {}", agent.pid()), "pid 4711");
        let screen: String = screen
            .lines()
            .map(|line| match line.split_once(", state ") {
                Some((line, _)) => format!("{line}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        assert!(screen.lines().count() <= 24, "{screen}");
        assert_golden("status", &format!("$ redirector status\n{screen}"));
        agent.stop();
    });
}

#[test]
fn there_is_colour_on_a_terminal_unless_it_is_not_wanted() {
    in_world(|world| {
        let on_terminal = |arguments: &str, variables: &[(&str, &str)]| {
            let mut command = world.node.command("script");
            command.args(["--quiet", "--return", "--command", &format!("{BINARY} {arguments}"), "/dev/null"]);
            command.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
            Outcome::of(command).assert_code(1).stdout.contains("\x1b[")
        };
        assert!(on_terminal("status", &[]));
        assert!(!on_terminal("status", &[("NO_COLOR", "1")]));
        assert!(!on_terminal("status --color never", &[]));
    });
}

#[test]
fn without_an_agent_nothing_of_ours_is_here() {
    in_world(|world| {
        let status = world.redirector("status");
        status.assert_code(1).assert_says(&["FAIL", "agent", "not running, and no program of ours is here"]);
        status.assert_says(&["fix: `redirector run` starts it"]);
        assert_eq!(status.stdout.lines().count(), 2);
    });
}

#[test]
fn after_a_kill_status_says_what_is_left_and_what_to_do() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        world.agent(ROUTES).kill();
        let status = world.redirector("status");
        status.assert_code(1).assert_says(&["FAIL", "agent", "not running"]);
        status.assert_says(&["WARN", "rules", "8 rules and routes are left"]);
        status.assert_says(&["fix: `redirector cleanup` takes them away"]);
        if world.hook == Hook::Clsact {
            status.assert_says(&["OK", "hook", "tc_ingress first at clsact ingress of to-client"]);
            status.assert_says(&["FAIL", "hook", "sk_lookup is not attached"]);
            status.assert_says(&["OK", "proxy", "127.0.0.1:15001: listening, transparent"]);
        }
        world.redirector("cleanup").assert_code(0);
        world
            .redirector("status")
            .assert_code(1)
            .assert_says(&["not running, and no program of ours is here"]);
        let _agent = world.agent(ROUTES);
        world.redirector("status").assert_code(0);
    });
}

#[test]
fn what_keeps_a_proxy_from_taking_connections_is_named() {
    in_world(|world| {
        let _agent = world.agent(ROUTES);
        let says = |words: &[&str]| {
            world.redirector("status").assert_code(1).assert_says(words);
        };
        says(&["FAIL", "proxy", "127.0.0.1:15001: not listening"]);
        let listener =
            |family: crate::support::world::Family| Listener::proxy((family.loopback(), PROXY_PORT));
        let [v4, v6] = FAMILIES;
        {
            let _v4 = world.serve_proxy(listener(v4));
            says(&["OK", "proxy", "127.0.0.1:15001: listening, transparent"]);
            says(&["WARN", "proxy", "[::1]:15001: not listening"]);
        }
        let _v6 = world.serve_proxy(listener(v6));
        {
            let _v4 = world.serve_proxy(listener(v4).transparent(false));
            says(&["WARN", "proxy", "127.0.0.1:15001: listening, not transparent"]);
            says(&["fix: set IP_TRANSPARENT"]);
        }
        {
            let _v4 = world.serve_proxy(listener(v4).by_mptcp());
            says(&["FAIL", "proxy", "127.0.0.1:15001: listening by MPTCP"]);
            says(&["fix:", "GODEBUG=multipathtcp=0"]);
        }
        {
            let _v4 = world.serve_proxy(listener(v4).on_device("lo"));
            says(&["FAIL", "proxy", "127.0.0.1:15001: listening, but bound to a device"]);
        }
        let _v4 = world.serve_proxy(listener(v4));
        world.redirector("status").assert_code(0);
    });
}

#[test]
fn connections_that_a_firewall_takes_are_missed_and_the_rule_that_is_named_lets_them_in() {
    at_each_hook(|world| {
        let node = &world.node;
        let _proxy = world.proxy();
        let _agent = world.agent(ROUTES);
        node.output("nft add table inet filter");
        node.output("nft add chain inet filter input { type filter hook input priority 0 ; policy drop ; }");
        node.output("nft add rule inet filter input ct state established,related accept");
        node.output("nft add rule inet filter input meta l4proto 58 accept");
        for family in FAMILIES {
            world.assert_silent((family.service(), PORT));
            world.assert_silent((family.node(), PORT));
        }
        let status = world.redirector("status");
        status.assert_code(1).assert_says(&[
            "WARN",
            "route all:",
            "steered connections never reached the proxy",
        ]);
        let fix = status.line(&["fix: nft insert rule"]).expect("the rule is named");
        paste(node, fix.trim_start().trim_start_matches("fix: "));
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
            world.assert_reaches((family.node(), PORT), "proxy");
        }
    });
}

#[test]
fn a_program_of_others_before_ours_is_named() {
    for (hook, place, before) in [
        (Hook::Tcx, Place::TcxFirst, true),
        (Hook::Tcx, Place::TcxLast, false),
        (Hook::Tcx, Place::Clsact(1), false),
        (Hook::Clsact, Place::TcxLast, true),
        (Hook::Clsact, Place::Clsact(1), true),
        (Hook::Clsact, Place::Clsact(u16::MAX), false),
    ] {
        if !place.exists() {
            continue;
        }
        in_world_at(hook, |world| {
            let _proxy = world.proxy();
            let _agent = world.agent(ROUTES);
            let _tap = Tap::attach(world, place);
            let status = world.redirector("status");
            if before {
                status.assert_code(1).assert_says(&[
                    "WARN",
                    &format!("to-client {hook} ingress: tc_ingress sees packets only after tap"),
                ]);
            } else {
                status.assert_code(0).assert_says(&["OK", "tc_ingress first at", "to-client"]);
            }
        });
    }
}

#[test]
fn rules_and_programs_that_somebody_removed_are_missed() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        for (remove, missing) in [
            ("ip rule delete pref 90", "IPv4: the rule that leaves our own answers out"),
            ("ip -6 rule delete pref 91", "IPv6: the rule from mark 0x2000 to the table"),
            ("ip rule delete pref 92", "IPv4: the rule that this one leads to"),
            ("ip -6 route flush table 8200", "IPv6: the route in table 8200"),
        ] {
            let agent = world.agent(ROUTES);
            world.redirector("status").assert_code(0);
            // One that can would repair it.
            agent.signal(Signal::SIGSTOP);
            world.node.output(remove);
            let status = world.redirector("status");
            status.assert_code(1).assert_says(&["FAIL", "rules", missing]);
            agent.signal(Signal::SIGCONT);
            agent.stop();
        }
        if world.hook == Hook::Clsact {
            let agent = world.agent(ROUTES);
            agent.signal(Signal::SIGSTOP);
            world.node.output("tc filter delete dev to-client ingress");
            let status = world.redirector("status");
            status
                .assert_code(1)
                .assert_says(&["FAIL", "to-client: captured, but no program of ours is attached"]);
            agent.signal(Signal::SIGCONT);
        }
    });
}

#[test]
fn the_names_of_routes_go_with_the_agent() {
    // A filter at clsact outlives an agent that is killed, and all that it uses with it.
    if !needs_tcx() {
        return;
    }
    in_world(|world: &World| {
        let agent = world.agent(ROUTES);
        let ids = || -> Vec<u32> {
            world.node.run(|| {
                let found = redirector::datapath::Found::look().expect("root may look");
                found
                    .programs
                    .values()
                    .filter_map(|program| program.maps.get("ROUTE_NAMES").copied())
                    .collect()
            })
        };
        let names = ids();
        assert!(!names.is_empty(), "a program holds the map");
        agent.kill();
        // The kernel frees a map after a grace period.
        crate::support::snapshot::until("the map is gone", || {
            aya::maps::MapInfo::from_id(names[0]).is_err().then_some(())
        });
        assert!(ids().is_empty());
    });
}

const ROUTES: &[&str] = &["all:8080=proxy:15001", "10.0.3.0/24:9000-9100=drop from 10.0.0.0/8"];
