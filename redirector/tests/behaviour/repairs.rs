//! What others change or take away of ours is put back and told, and what they had before is left to them.

use aya::programs::{SchedClassifier, TcAttachType};

use crate::support::{
    Connection, World, at_each_hook, in_world, in_world_at,
    snapshot::Snapshot,
    tap::{Place, Tap},
    world::{FAMILIES, Hook, PORT},
};

/// So that also what no notice comes of is found soon.
const SOON: [&str; 2] = ["--reconcile", "1s"];
const ROUTES: [&str; 1] = ["all:8080=proxy:15001"];

#[test]
fn rules_and_routes_that_somebody_removes_are_added_again() {
    in_world(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let agent = world.agent_with(&ROUTES, &SOON);
        let running = Snapshot::take(&world.node);
        for (nth, removal) in [
            "ip rule delete pref 90",
            "ip rule delete pref 91",
            "ip rule delete pref 92",
            "ip -6 rule delete pref 90",
            "ip -6 rule delete pref 91",
            "ip -6 rule delete pref 92",
            "ip route flush table 8200",
            "ip -6 route flush table 8200",
        ]
        .into_iter()
        .enumerate()
        {
            world.node.output(removal);
            agent.wait_for_nth(nth + 1, removal, |line| line.starts_with("repaired: IPv"));
            assert_steered(world);
            running.assert_unchanged(&Snapshot::take(&world.node));
        }
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn programs_that_somebody_detaches_are_attached_again() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let agent = world.agent_with(&ROUTES, &SOON);
        let mut connections = FAMILIES.map(|family| {
            Connection::open(&world.client, (family.service(), PORT).into()).expect("it is steered")
        });
        let removals: &[&str] = match world.hook {
            Hook::Clsact => {
                &["tc filter delete dev to-client ingress", "tc qdisc delete dev to-client clsact"]
            }
            _ => &["tcx"],
        };
        for (nth, removal) in removals.iter().enumerate() {
            match *removal {
                "tcx" => detach(world, &format!(" prog {} ", tcx_program(world))),
                command => drop(world.node.output(command)),
            }
            agent.wait_for_nth(nth + 1, removal, |line| {
                line.starts_with("repaired: interface to-client: captured again")
            });
            assert_steered(world);
        }
        detach(world, &format!("netns_ino {} ", netns_inode(world)));
        agent.wait_for("repaired: sk_lookup: attached again");
        assert_steered(world);
        connections.iter_mut().for_each(Connection::assert_echoes);
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn a_program_that_comes_before_ours_and_has_the_last_word_is_put_behind_it() {
    for (hook, places) in [
        (Hook::Tcx, [Place::TcxFirst, Place::TcxFirst]),
        (Hook::Clsact, [Place::Clsact(100), Place::Clsact(50)]),
    ] {
        println!("the agent at {hook}, other programs at {places:?}");
        in_world_at(hook, |world| {
            let _proxy = world.proxy();
            let agent = world.agent_with(&ROUTES, &SOON);
            let mut connections = FAMILIES.map(|family| {
                Connection::open(&world.client, (family.service(), PORT).into()).expect("it is steered")
            });
            for (round, place) in places.into_iter().enumerate() {
                let tap = Tap::attach_accepting(world, place);
                let line = agent.wait_for_nth(round + 1, "the order is restored", |line| {
                    line.starts_with("repaired: interface to-client: first again")
                });
                assert!(line.ends_with("before it was tap"), "{line}");
                assert_steered(world);
                connections.iter_mut().for_each(Connection::assert_echoes);
                drop(tap);
            }
            let summary = agent.stop();
            assert_eq!(summary.lost("all"), 0);
        });
    }
}

#[test]
fn what_nothing_can_be_before_is_told_once_and_left_alone() {
    for (place, why) in [
        (Place::Clsact(1), "behind tap, at priority 1"),
        (Place::TcxFirst, "behind tap, at TCX, which comes before clsact"),
    ] {
        if !place.exists() {
            continue;
        }
        in_world_at(Hook::Clsact, |world| {
            let _proxy = world.proxy();
            let agent = world.agent_with(&ROUTES, &SOON);
            let tap = Tap::attach_accepting(world, place);
            let line = agent.wait_for("warning: interface to-client");
            assert!(line.contains(why), "{line}");
            drop(tap);
            world.assert_comes_to_reach((FAMILIES[0].service(), PORT), "proxy");
            let told = agent.said().iter().filter(|line| line.contains("behind tap")).count();
            assert_eq!(told, 1);
            agent.stop();
        });
    }
}

#[test]
fn numbers_that_others_have_are_moved_where_that_is_allowed() {
    in_world(|world| {
        let _proxy = world.proxy();
        for family in ["", "-6 "] {
            world.node.output(&format!("ip {family}rule add pref 91 fwmark 0x2000/0x2000 lookup 8200"));
        }
        let before = Snapshot::take(&world.node);
        let auto = ["--mark", "auto", "--table", "auto", "--rule-priority", "auto"];
        let agent = world.agent_with(&ROUTES, &auto);
        for (number, used) in [("mark 0x2000", "0x1000"), ("table 8200", "8201"), ("rule_priority 90", "88")]
        {
            let line = agent.wait_for(&format!("{number} is taken: IPv4 rule 91"));
            assert!(line.ends_with(&format!("; {used} is used")), "{line}");
        }
        assert_steered(world);
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn what_an_agent_with_other_numbers_left_goes_when_the_next_one_steers() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let others = ["--mark", "0x1000", "--table", "8300", "--rule-priority", "40"];
        let agent = world.agent_with(&ROUTES, &others);
        assert_steered(world);
        agent.kill();
        let agent = world.agent(&ROUTES);
        assert_steered(world);
        let rules = world.node.output("ip rule");
        assert!(!rules.contains("0x1000") && rules.contains("0x2000"), "{rules}");
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

/// Detaches by force the BPF link of which `bpftool link` says this.
fn detach(world: &World, what: &str) {
    let links = world.node.output("bpftool link");
    let mut id = "";
    for line in links.lines() {
        if let Some((number, _)) = line.split_once(": ")
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            id = number;
        }
        if format!("{line} ").contains(what) {
            world.node.output(&format!("bpftool link detach id {id}"));
            return;
        }
    }
    panic!("no link with {what:?} in {links}");
}

/// The id of the program at the interface.
fn tcx_program(world: &World) -> u32 {
    let query = || SchedClassifier::query_tcx("to-client", TcAttachType::Ingress).expect("ask for programs");
    let (_, programs) = world.node.run(query);
    programs.first().expect("there is a program").id()
}

fn netns_inode(world: &World) -> u64 {
    use std::os::fd::AsFd as _;
    nix::sys::stat::fstat(world.node.as_fd()).expect("stat the namespace").st_ino
}

#[track_caller]
fn assert_steered(world: &World) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            world.assert_reaches((address, PORT), "proxy");
        }
    }
}
