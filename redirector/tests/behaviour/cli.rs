//! Wrong command lines and hosts that are not as the agent needs them: a clear error with the fix, and nothing is
//! attached or changed.

use crate::support::{
    Agent, World,
    agent::{BINARY, run_arguments},
    in_world,
    snapshot::Snapshot,
    world::{FAMILIES, Hook, PORT},
};

#[test]
fn without_an_interface_those_that_there_are_are_listed() {
    in_world(|world| {
        assert_refused(
            world,
            &["run", "--route", ROUTE],
            2,
            &["no interface", "--interface", "to-client, to-server"],
        );
    });
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    in_world(|world| {
        let arguments = run_arguments(Hook::Auto, "eth9", &[ROUTE]);
        assert_refused(
            world,
            &arguments,
            4,
            &["eth9: no such interface", "interfaces here: to-client, to-server"],
        );
    });
}

#[test]
fn interfaces_that_cannot_be_captured_are_refused() {
    in_world(|world| {
        let arguments = run_arguments(Hook::Auto, "lo", &[ROUTE]);
        assert_refused(world, &arguments, 5, &["tc_ingress to lo", "loopback", "to-client, to-server"]);
    });
}

#[test]
fn a_glob_that_matches_nothing_yet_is_a_warning() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("veth*", &[ROUTE]);
        assert!(agent.said().iter().any(|line| line.starts_with("warning") && line.contains("veth*")));
        world.node.ip("link set to-client name veth7");
        agent.wait_for("interface veth7: captured");
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
    });
}

#[test]
fn wrong_routes_are_refused_with_the_place_and_the_grammar() {
    const GRAMMAR: &str = "[NAME:][tcp/|udp/][DEST{,DEST}:]PORTS=TARGET";
    in_world(|world| {
        for (route, words) in [
            ("8080", &["no `=`", GRAMMAR][..]),
            ("=proxy:15001", &["a port is missing", GRAMMAR]),
            ("8080=", &["a target is missing", GRAMMAR]),
            ("8080=proxy", &["`proxy` is not a target", GRAMMAR]),
            ("8080=proxy:", &["a port is missing", GRAMMAR]),
            ("8080=prxy:15001", &["`prxy:15001` is not a target", "proxy:PORT", GRAMMAR]),
            ("0=proxy:15001", &["0 is not a port", "1 to 65535", GRAMMAR]),
            ("8080=proxy:0", &["0 is not a port", GRAMMAR]),
            ("65536=drop", &["65536 is not a port", GRAMMAR]),
            ("9-8=proxy:15001", &["ends before it begins", "8-9", GRAMMAR]),
            ("80,,81=drop", &["a port is missing", GRAMMAR]),
            ("10.0.0.1/8:80=proxy:15001", &["bits beyond its length", "write 10.0.0.0/8", GRAMMAR]),
            ("10.0.0.0/33:80=drop", &["`10.0.0.0/33` is not an IP prefix", GRAMMAR]),
            ("fd00::/8:80=proxy:15001", &["brackets", GRAMMAR]),
            ("80=drop from", &["prefix is missing", GRAMMAR]),
            ("80=proxy:15001 else perhaps", &["`perhaps`", "pass, drop or reset", GRAMMAR]),
            ("80=drop else drop", &["leave `else` out", GRAMMAR]),
            ("sctp/80=drop", &["`sctp` is not a protocol", GRAMMAR]),
            ("15001=proxy:15001", &["15001 is the proxy's own port", GRAMMAR]),
            ("80=proxy:[::1]:15001 from 10.0.0.0/8", &["can never match", GRAMMAR]),
        ] {
            let arguments = run_arguments(Hook::Auto, "to-client", &[route]);
            let said = assert_refused(world, &arguments, 5, words);
            assert!(said.lines().any(|line| line.trim() == route), "{route} is shown: {said}");
            assert!(
                said.lines().any(|line| line.trim_start().starts_with('^')),
                "its place is shown: {said}"
            );
        }
    });
}

#[test]
fn all_that_is_wrong_with_the_routes_is_said_at_once() {
    in_world(|world| {
        let arguments = run_arguments(Hook::Auto, "to-client", &["80=nowhere", "8080=proxy:15001", "0=drop"]);
        assert_refused(world, &arguments, 5, &["`nowhere` is not a target", "0 is not a port"]);
    });
}

#[test]
fn routes_that_do_not_go_together_are_named() {
    in_world(|world| {
        for (routes, words) in [
            (&["a:8080=proxy:15001", "b:8080=drop"][..], &["routes a and b", "tcp/8080"][..]),
            (
                &[
                    "a:10.0.0.0/8:80-90=proxy:15001",
                    "b:85-95=pass from 10.1.0.0/16",
                    "c:10.0.0.0/8:85-95=pass",
                ],
                &["routes a and c", "tcp/10.0.0.0/8:85-90"],
            ),
            (&["a:80=drop", "a:81=drop"], &["route a", "two of this name"]),
        ] {
            assert_refused(world, &run_arguments(Hook::Auto, "to-client", routes), 5, words);
        }
    });
}

#[test]
fn a_proxy_that_is_not_on_this_host_is_refused() {
    in_world(|world| {
        for proxy in ["10.0.3.2", "192.0.2.1", "[2001:db8:3::2]"] {
            let route = format!("web:8080=proxy:{proxy}:15001");
            let arguments = run_arguments(Hook::Auto, "to-client", &[&route]);
            let address = proxy.trim_matches(['[', ']']);
            assert_refused(
                world,
                &arguments,
                5,
                &["route web", address, "not of this host", "10.0.1.1", "2001:db8:1::1"],
            );
        }
    });
}

#[test]
fn more_routes_than_there_is_room_for_are_refused_with_the_numbers() {
    in_world(|world| {
        let proxies: Vec<_> = (1..=300).map(|n| format!("{n}=proxy:{}", 15000 + n)).collect();
        let proxies: Vec<_> = proxies.iter().map(String::as_str).collect();
        assert_refused(world, &run_arguments(Hook::Auto, "to-client", &proxies), 5, &["300 proxies", "256"]);
        // Ports that stand alone multiply with the destinations.
        let ports: Vec<_> = (0..600).map(|n| (1000 + 2 * n).to_string()).collect();
        let destinations: Vec<_> = (0..500).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250)).collect();
        let route = format!("wide:{}:{}=proxy:15001", destinations.join(","), ports.join(","));
        assert_refused(world, &run_arguments(Hook::Auto, "to-client", &[&route]), 5, &["prefixes", "262144"]);
    });
}

#[test]
fn without_the_privileges_the_agent_says_which_it_needs() {
    in_world(|world| {
        let before = Snapshot::take(&world.node);
        let needed = ["bpf", "net_admin", "perfmon"];
        // None at all, and all of them but one. Root without capabilities may still read its own binary.
        let sets = [vec![], vec!["bpf", "perfmon"], vec!["net_admin", "perfmon"], vec!["bpf", "net_admin"]];
        for set in sets {
            let mut agent = Agent::spawn(with_capabilities(world, &set));
            let status = agent.wait();
            let said = agent.said().join("\n");
            assert_eq!(status.code(), Some(6), "with {set:?} of {needed:?}: {said}");
            assert!(["hint: ", "CAP_BPF", "CAP_NET_ADMIN"].iter().all(|word| said.contains(word)), "{said}");
        }
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn three_capabilities_are_enough() {
    in_world(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let agent = Agent::spawn(with_capabilities(world, &["bpf", "net_admin", "perfmon"]));
        agent.wait_until_ready();
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
            world.assert_reaches((family.node(), PORT), "proxy");
        }
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn a_second_agent_in_the_namespace_is_refused_and_the_first_goes_on() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&[ROUTE]);
        let arguments = run_arguments(Hook::Auto, "to-server", &["9090=proxy:15001"]);
        assert_refused(world, &arguments, 1, &["another agent", "hint: end it first"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn rules_and_routes_of_others_in_our_place_are_refused_and_stay() {
    in_world(|world| {
        for (add, delete, words) in [
            (
                "rule add pref 91 lookup main",
                "rule delete pref 91",
                &["rule_priority 90 is taken: IPv4 rule 91: lookup 254", "auto"][..],
            ),
            (
                "-6 rule add pref 90 fwmark 5 lookup 77",
                "-6 rule delete pref 90",
                &["rule_priority 90 is taken: IPv6 rule 90: fwmark 0x5/0xffffffff lookup 77"],
            ),
            (
                "rule add pref 2000 fwmark 0x2000/0xf000 lookup 77",
                "rule delete pref 2000",
                &["mark 0x2000 is taken: IPv4 rule 2000: fwmark 0x2000/0xf000 lookup 77"],
            ),
            (
                "rule add pref 2000 lookup 8200",
                "rule delete pref 2000",
                &["table 8200 is taken: IPv4 rule 2000"],
            ),
            (
                "route add 203.0.113.0/24 dev lo table 8200",
                "route delete 203.0.113.0/24 dev lo table 8200",
                &["table 8200 is taken: IPv4 route in table 8200: 203.0.113.0/24"],
            ),
        ] {
            world.node.output(&format!("ip {add}"));
            assert_refused(world, &run_arguments(Hook::Auto, "to-client", &[ROUTE]), 1, words);
            world.node.output(&format!("ip {delete}"));
        }
    });
}

const ROUTE: &str = "8080=proxy:15001";

/// Runs the binary, which must end with this code, say these words, write nothing to stdout and change nothing.
#[track_caller]
fn assert_refused(world: &World, arguments: &[impl AsRef<str>], code: i32, words: &[&str]) -> String {
    let before = Snapshot::take(&world.node);
    let mut command = world.node.command(BINARY);
    command.args(arguments.iter().map(AsRef::as_ref));
    let mut agent = Agent::spawn(command);
    let status = agent.wait();
    let said = agent.said().join("\n");
    assert_eq!(status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(said.lines().any(|line| line.starts_with("redirector: ")), "{said}");
    assert_eq!(agent.output(), "", "what is wrong goes to stderr");
    before.assert_unchanged(&Snapshot::take(&world.node));
    said
}

/// `redirector run` by root with these capabilities only.
fn with_capabilities(world: &World, capabilities: &[&str]) -> std::process::Command {
    let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
    let mut command = world.node.command("setpriv");
    command.args([format!("--bounding-set=-all{set}"), "--inh-caps=-all".to_owned(), "--".to_owned()]);
    command.arg(BINARY).args(run_arguments(Hook::Auto, "to-client", &[ROUTE]));
    command
}
