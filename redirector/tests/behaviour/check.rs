//! `redirector check`: whether a host can do what an agent will ask of it, and what to do where it cannot.

use redirector::{check, datapath::AttachMode, settings::Settings};

use crate::support::{
    Listener, World,
    command::Outcome,
    in_world,
    snapshot::Snapshot,
    tap::{Place, Tap},
    world::{FAMILIES, Family, PROXY_PORT},
};

#[test]
fn on_a_good_node_everything_is_ok_and_nothing_is_changed() {
    in_world(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let check = world.redirector(CHECK);
        check.assert_code(0).assert_does_not_say(&["WARN"]).assert_does_not_say(&["FAIL"]);
        before.assert_unchanged(&Snapshot::take(&world.node));
        for words in [
            &["OK", "config", "1 route, valid"][..],
            &["OK", "kernel-programs", "learn_listener", "sk_lookup", "tc_ingress"],
            &["OK", "kernel-tcx"],
            &["OK", "interface-unsupported", "to-client"],
            &["OK", "proxy-listening", "127.0.0.1:15001"],
            &["OK", "proxy-transparent", "[::1]:15001"],
        ] {
            check.assert_says(words);
        }
        let json = world.redirector(&format!("{CHECK} -o json"));
        let document: serde_json::Value = serde_json::from_str(&json.assert_code(0).stdout).expect("JSON");
        assert_eq!(document["version"], 1);
        let findings = document["findings"].as_array().expect("a list");
        assert_eq!(findings.len(), check.stdout.lines().count(), "the same facts");
        for finding in findings {
            assert!(check::IDS.iter().any(|id| finding["id"] == *id), "{finding}");
        }
        world.redirector("check").assert_code(0).assert_says(&["no route leads to a proxy"]);
    });
}

#[test]
fn without_the_privileges_check_says_which_it_needs() {
    in_world(|world| {
        let _proxy = world.proxy();
        let without = world.redirector_with(&[], CHECK);
        without
            .assert_code(6)
            .assert_says(&["FAIL", "capabilities", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"])
            .assert_says(&["WARN", "kernel-programs", "not tried"]);
        let two = world.redirector_with(&["bpf", "net_admin"], CHECK);
        two.assert_code(6).assert_says(&["FAIL", "capabilities", "missing: CAP_PERFMON"]);
        // What the agent needs is enough; only whose programs there are it does not tell.
        let _tap = Tap::attach(world, Place::TcxFirst);
        let three = world.redirector_with(&["bpf", "net_admin", "perfmon"], CHECK);
        three
            .assert_code(0)
            .assert_says(&["OK", "capabilities"])
            .assert_says(&["OK", "kernel-programs"])
            .assert_says(&["OK", "proxy-transparent", "127.0.0.1:15001"])
            .assert_says(&["WARN", "tc-order", "cannot be told"])
            .assert_says(&["fix: needs CAP_SYS_ADMIN"]);
    });
}

#[test]
fn an_agent_and_what_one_has_left_are_told() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&[ROUTE]);
        let check = world.redirector(CHECK);
        check.assert_code(0).assert_says(&["WARN", "agent-running", &format!("(pid {})", agent.pid())]);
        check.assert_says(&["OK", "leftovers"]).assert_says(&["OK", "rule-priority"]);
        agent.kill();
        let check = world.redirector(CHECK);
        check.assert_code(0).assert_says(&["WARN", "leftovers", "and 7 more"]);
        check.assert_says(&["fix: `redirector cleanup`"]);
        world.redirector("cleanup").assert_code(0);
        world.redirector(CHECK).assert_code(0).assert_says(&["OK", "leftovers", "nothing of ours is here"]);
    });
}

#[test]
fn interfaces_that_are_not_there_or_cannot_be_captured_are_told() {
    in_world(|world| {
        let missing = world.redirector("check --interface eth9");
        missing.assert_code(1).assert_says(&["FAIL", "interface-unsupported", "eth9: no such interface"]);
        missing.assert_says(&["fix: interfaces here: to-client, to-server"]);
        let loopback = world.redirector("check --interface lo");
        loopback.assert_code(5).assert_says(&[
            "FAIL",
            "interface-unsupported",
            "lo: it is the loopback device",
        ]);
        let glob = world.redirector("check --interface wg*");
        glob.assert_code(0).assert_says(&["WARN", "interface-unsupported", "no interface matches yet"]);
        world.redirector("check --interface to-*").assert_code(0).assert_does_not_say(&["WARN"]);
    });
}

#[test]
fn programs_of_others_are_told_by_name_and_by_who_comes_first() {
    for (place, mode, words) in [
        (
            Place::TcxFirst,
            AttachMode::Auto,
            &["OK", "ours will see packets before tap (to-client tcx ingress)"][..],
        ),
        (Place::Clsact(1), AttachMode::Auto, &["OK", "ours will see packets before tap (to-client clsact"]),
        (Place::Clsact(1), AttachMode::Clsact, &["WARN", "to-client clsact ingress: tap has priority 1"]),
        (Place::Clsact(2), AttachMode::Clsact, &["OK", "ours will see packets before tap"]),
        (Place::TcxLast, AttachMode::Clsact, &["WARN", "tap will see packets before our clsact filter"]),
    ] {
        in_world(|world| {
            let _tap = Tap::attach(world, place);
            let settings = Settings { attach: mode, ..Settings::default() };
            assert_says(&check_with(world, settings), "tc-order", words);
        });
    }
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&[ROUTE]);
        let tap = Tap::attach(world, Place::TcxFirst);
        world.redirector(CHECK).assert_code(0).assert_says(&["WARN", "tc-order", "before ours: tap"]);
        agent.stop();
        let _agent = world.agent(&[ROUTE]);
        world.redirector(CHECK).assert_code(0).assert_says(&["OK", "tc-order"]);
        drop(tap);
    });
}

#[test]
fn rules_and_routes_of_others_in_our_way_are_told_and_gone_when_they_go() {
    in_world(|world| {
        for (line, code, words) in [
            (
                "ip rule add pref 91 lookup main",
                1,
                &["FAIL", "rule-priority", "IPv4 rule 91: lookup 254"][..],
            ),
            ("ip -6 rule add pref 90 nop", 1, &["FAIL", "rule-priority", "IPv6 rule 90: nop"]),
            (
                "ip route add 203.0.113.0/24 dev lo table 8200",
                1,
                &["FAIL", "route-table", "1 route of others"],
            ),
            (
                "ip -6 rule add pref 500 lookup 8200",
                1,
                &["FAIL", "route-table", "IPv6 rule 500: lookup 8200"],
            ),
            (
                "ip rule add pref 501 fwmark 0x2000/0xf000 lookup main",
                1,
                &["FAIL", "mark-overlap", "fwmark 0x2000/0xf000", "Cilium with IPsec"],
            ),
            (
                "ip -6 rule add pref 502 fwmark 0x111 lookup main",
                0,
                &["WARN", "mark-overlap", "fwmark 0x111/0xffffffff", "Istio"],
            ),
        ] {
            world.node.output(line);
            world.redirector("check").assert_code(code).assert_says(words);
            world.node.output(&line.replace(" add ", " delete "));
            world.redirector("check").assert_code(0).assert_does_not_say(&["WARN"]);
        }
        // Others' marks that leave ours alone are no overlap.
        world.node.output("ip rule add pref 503 fwmark 0x200/0xf00 lookup main");
        world.node.output("ip rule add pref 504 fwmark 0x80000/0xff0000 lookup main");
        world.redirector("check").assert_code(0).assert_says(&["OK", "mark-overlap"]);
    });
}

#[test]
fn each_fault_of_a_listener_has_its_id_and_the_good_one_has_none() {
    in_world(|world| {
        let listener = |family: Family| Listener::proxy((family.loopback(), PROXY_PORT));
        let [v4, v6] = FAMILIES;
        let says = |code: i32, words: &[&str]| {
            world.redirector(CHECK).assert_code(code).assert_says(words);
        };
        says(1, &["FAIL", "proxy-listening", "127.0.0.1:15001: not listening"]);
        let _v4 = world.serve_proxy(listener(v4));
        says(0, &["WARN", "proxy-listening", "[::1]:15001: not listening"]);
        world
            .redirector("check --route 8080=proxy:127.0.0.1:15001")
            .assert_code(0)
            .assert_does_not_say(&["WARN"]);
        for (wrong, code, words) in [
            (listener(v6).transparent(false), 0, &["WARN", "proxy-transparent", "[::1]:15001"]),
            (listener(v6).by_mptcp(), 1, &["FAIL", "proxy-mptcp", "[::1]:15001"]),
            (listener(v6).on_device("lo"), 1, &["FAIL", "proxy-device-bound", "[::1]:15001"]),
        ] {
            let _v6 = world.serve_proxy(wrong);
            says(code, words);
        }
        let _v6 = world.serve_proxy(listener(v6));
        world.redirector(CHECK).assert_code(0).assert_does_not_say(&["WARN"]);
    });
}

#[test]
fn routes_that_are_wrong_do_not_keep_the_rest_from_being_looked_at() {
    in_world(|world| {
        for arguments in [
            "check --route 8080=nowhere",
            "check --route a:8080=proxy:15001 --route b:8080=drop",
            "check --route 8080=proxy:192.0.2.1:15001",
        ] {
            let check = world.redirector(arguments);
            check.assert_code(5).assert_says(&["FAIL", "config"]).assert_says(&["OK", "kernel-programs"]);
        }
    });
}

const ROUTE: &str = "8080=proxy:15001";
const CHECK: &str = "check --interface to-client --route 8080=proxy:15001";

/// What the library finds in the node by settings for which the command has no flag.
fn check_with(world: &World, settings: Settings) -> Outcome {
    let findings = world.node.run(|| check::look(Ok(settings)));
    let mut text = Vec::new();
    redirector::finding::write(&mut text, &findings, Default::default()).expect("write to memory");
    let stdout = String::from_utf8(text).expect("it writes UTF-8");
    println!("{stdout}");
    Outcome { code: 0, stdout, stderr: String::new() }
}

#[track_caller]
fn assert_says(outcome: &Outcome, id: &str, words: &[&str]) {
    let words: Vec<_> = [id].into_iter().chain(words.iter().copied()).collect();
    outcome.assert_says(&words);
}
