//! `redirector cleanup`: takes away everything of ours, and nothing else.

use std::fs;

use redirector::datapath::Found;

use crate::support::{
    World,
    agent::BINARY,
    at_each_hook, in_world,
    kernel::needs_tcx,
    left::Left,
    snapshot::Snapshot,
    tap::{Place, Tap},
    world::{FAMILIES, Hook, PORT},
};

#[test]
fn after_an_agent_that_ended_there_is_nothing_to_clean_up() {
    at_each_hook(|world| {
        let before = Snapshot::take(&world.node);
        world.agent_at("to-*", &[ROUTE]).stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
        world.redirector("cleanup").assert_code(0).assert_says(&["nothing of ours is here"]);
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn after_an_agent_that_was_killed_cleanup_leaves_the_namespace_as_it_was_before() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        world.agent_at("to-*", &[ROUTE]).kill();
        let cleanup = world.redirector("cleanup");
        cleanup.assert_code(0).assert_says(&["removed IPv4 rule 90: fwmark 0x2000/0x2000 iif lo goto 92"]);
        cleanup.assert_says(&["removed IPv6 route in table 8200: local default"]);
        if world.hook == Hook::Clsact {
            cleanup.assert_says(&["removed program tc_ingress at to-client clsact ingress (priority 49152)"]);
            cleanup.assert_says(&["removed qdisc clsact at to-server"]);
        }
        before.assert_unchanged(&Snapshot::take(&world.node));
        world.redirector("cleanup").assert_code(0).assert_says(&["nothing of ours is here"]);

        let agent = world.agent_at("to-*", &[ROUTE]);
        assert_steered(world);
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn a_dry_run_lists_what_cleanup_removes_and_removes_nothing() {
    at_each_hook(|world| {
        world.agent_at("to-*", &[ROUTE]).kill();
        let before = Snapshot::take(&world.node);
        let would = world.redirector("cleanup --dry-run");
        would.assert_code(0);
        before.assert_unchanged(&Snapshot::take(&world.node));
        let did = world.redirector("cleanup");
        assert_eq!(would.stdout.replace("would remove", "removed"), did.stdout);
        assert!(did.stdout.lines().count() >= 8, "three rules and a route in each family");
    });
}

#[test]
fn whoever_closes_the_pipe_keeps_nothing_from_being_removed() {
    in_world(|world| {
        let before = Snapshot::take(&world.node);
        world.agent(&[ROUTE]).kill();
        let (reader, writer) = std::io::pipe().expect("make a pipe");
        drop(reader);
        let mut command = world.node.command(BINARY);
        let status = command.arg("cleanup").stdout(writer).status().expect("run cleanup");
        assert!(status.success(), "{status}");
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn beside_a_running_agent_cleanup_refuses_and_breaks_nothing() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&[ROUTE]);
        let before = Snapshot::take(&world.node);
        let refused = world.redirector("cleanup");
        refused.assert_code(1);
        let pid = format!("(pid {})", agent.pid());
        for words in [&*pid, "hint: end it first"] {
            assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
        }
        assert_eq!(refused.stdout, "");
        let would = world.redirector("cleanup --dry-run");
        would.assert_code(0).assert_says(&["would remove program tc_ingress at to-client"]);
        would.assert_says(&["would remove program sk_lookup at the network namespace"]);
        before.assert_unchanged(&Snapshot::take(&world.node));
        assert_steered(world);
        agent.stop();
    });
}

#[test]
fn what_is_not_ours_stays() {
    for place in [Place::TcxFirst, Place::TcxLast, Place::Clsact(1), Place::Clsact(u16::MAX)] {
        if !place.exists() {
            continue;
        }
        at_each_hook(|world| {
            let node = &world.node;
            let _tap = Tap::attach(world, place);
            node.try_output("tc qdisc add dev to-client clsact");
            node.output(
                "tc filter add dev to-client egress protocol all pref 7 u32 match u32 0 0 flowid 1:1",
            );
            for line in [
                "ip rule add pref 97 fwmark 0x4000/0x4000 lookup main",
                "ip rule add pref 101 nop",
                "ip -6 rule add pref 101 fwmark 0x1 lookup 8201",
                "ip route add 203.0.113.0/24 dev to-client table 8201",
                "ip -6 route add 2001:db8:9::/64 dev to-client table 8201",
            ] {
                node.output(line);
            }
            node.output("nft add table inet filter");
            node.output("nft add table ip redirector-of-others");
            let before = Snapshot::take(node);
            for _ in 0..2 {
                world.agent_at("to-*", &[ROUTE]).kill();
                world.redirector("cleanup").assert_code(0);
                before.assert_unchanged(&Snapshot::take(node));
            }
        });
    }
}

#[test]
fn programs_whose_links_another_process_holds_are_detached() {
    if !needs_tcx() {
        return;
    }
    in_world(|world| {
        let before = Snapshot::take(&world.node);
        let left = Left::attach(world);
        let cleanup = world.redirector("cleanup");
        cleanup.assert_code(0).assert_says(&["removed program tc_ingress at to-client tcx ingress (link "]);
        cleanup.assert_says(&["removed program sk_lookup at the network namespace (link "]);
        before.assert_unchanged(&Snapshot::take(&world.node));
        drop(left);
    });
}

#[test]
fn pins_of_ours_are_removed_and_those_of_other_namespaces_and_of_others_stay() {
    if !needs_tcx() {
        return;
    }
    in_world(|world| {
        let other = World::new(Hook::Tcx);
        let directory = format!("/sys/fs/bpf/pins-{}", std::process::id());
        fs::create_dir_all(format!("{directory}/sub")).expect("a bpffs is mounted for the tests");
        let _lefts = [(world, "here"), (&other, "there")].map(|(world, name)| {
            let left = Left::attach(world);
            let would = world.redirector("cleanup --dry-run");
            let line = would.line(&["sk_lookup", "(link "]).expect("it is attached");
            let link = line.rsplit(' ').next().expect("it ends in the link").trim_end_matches(')');
            world.node.output(&format!("bpftool link pin id {link} {directory}/sub/{name}"));
            left
        });
        let _tap = Tap::attach(world, Place::TcxLast);
        let found = world.node.run(|| Found::look().expect("root may look"));
        let members = found.chains.iter().flat_map(|chain| &chain.members);
        let id = members.filter(|member| member.name == "tap").find_map(|member| member.program);
        let id = id.expect("the tap is attached");
        world.node.output(&format!("bpftool prog pin id {id} {directory}/tap"));

        let cleanup = world.redirector("cleanup");
        cleanup
            .assert_code(0)
            .assert_says(&[&format!("removed pin {directory}/sub/here (link of sk_lookup)")]);
        // What is pinned for the other namespace is not seen here.
        world.redirector("status").assert_code(1).assert_says(&["no program of ours is here"]);
        other.redirector("status").assert_code(1).assert_says(&["OK", "sk_lookup attached"]);
        let mut left: Vec<_> = fs::read_dir(format!("{directory}/sub")).expect("list the pins").collect();
        assert_eq!(left.pop().expect("one stays").expect("read it").file_name(), "there");
        assert!(left.is_empty() && fs::exists(format!("{directory}/tap")).expect("look for the tap's pin"));
        fs::remove_dir_all(&directory).expect("remove the pins");
    });
}

#[test]
fn without_the_right_to_open_programs_cleanup_says_which_it_needs() {
    if !needs_tcx() {
        return;
    }
    in_world(|world| {
        let _left = Left::attach(world);
        let before = Snapshot::take(&world.node);
        for capabilities in [&[][..], &["bpf", "net_admin", "perfmon"]] {
            for command in ["cleanup", "cleanup --dry-run", "status"] {
                let refused = world.redirector_with(capabilities, command);
                refused.assert_code(6);
                assert!(refused.stderr.contains("hint: needs CAP_SYS_ADMIN"), "{refused:?}");
            }
        }
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

const ROUTE: &str = "all:8080=proxy:15001";

#[track_caller]
fn assert_steered(world: &World) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            world.assert_reaches((address, PORT), "proxy");
        }
    }
}
