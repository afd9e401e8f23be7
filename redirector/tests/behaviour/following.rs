//! Interfaces and addresses that change while the agent runs.

use nix::sys::signal::Signal;

use crate::support::{
    Agent, Hook, Listener, Netns, World, at_each_hook, in_world,
    world::{FAMILIES, Family, PORT},
};

const ROUTE: &str = "all:8080=proxy:15001";

/// A client on an interface of its own, whose name matches what the agent captures.
fn later(world: &World) -> Netns {
    let later = Netns::new("later");
    world.link(&later, "to-comer", "10.0.4", "2001:db8:4::");
    later
}

/// Gives the interface its addresses and neighbours back, which it loses with its namespace or when it goes down.
fn readdress(world: &World) {
    world.node.ip("address replace 10.0.4.1/24 dev to-comer
         address replace 2001:db8:4::1/64 dev to-comer nodad
         link set to-comer up
         neighbour replace 10.0.4.2 lladdr 02:00:00:00:00:02 dev to-comer nud permanent
         neighbour replace 2001:db8:4::2 lladdr 02:00:00:00:00:02 dev to-comer nud permanent");
}

fn assert_all_reach(world: &World, from: &Netns, name: &str) {
    for family in FAMILIES {
        world.assert_reaches_from(from, (family.server(), PORT), name);
    }
}

fn wait_for(agent: &Agent, nth: usize, what: &str) {
    agent.wait_for_nth(nth, what, |line| line.starts_with(&format!("interface to-comer: {what}")));
}

/// Waits until the agent has followed all that came before this: it takes notices in the order in which they come.
fn wait_until_followed(world: &World, agent: &Agent) {
    let name = format!("to-c-barrier{}", agent.said().len());
    world.node.ip(&format!("link add {name} type bridge"));
    agent.wait_for(&format!("interface {name}: captured"));
    world.node.ip(&format!("link delete {name}"));
    agent.wait_for(&format!("interface {name}: gone"));
}

#[test]
fn an_interface_whose_name_changes_is_released_and_captured_by_its_name() {
    at_each_hook(|world| {
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let later = later(world);
        let agent = world.agent_at("to-c*", &[ROUTE]);
        assert_all_reach(world, &later, "proxy");
        for round in 1..=2 {
            world.node.ip("link set to-comer name aside");
            agent.wait_for_nth(round, "released", |line| line.starts_with("interface aside: released"));
            assert_all_reach(world, &later, "server");
            world.node.ip("link set aside name to-comer");
            wait_for(&agent, round + 1, "captured");
            assert_all_reach(world, &later, "proxy");
        }
        // Both names match.
        world.node.ip("link set to-comer name to-child");
        wait_until_followed(world, &agent);
        assert_all_reach(world, &later, "proxy");
        assert!(!agent.said().iter().any(|line| line.starts_with("interface to-child")));
        agent.stop();
    });
}

#[test]
fn two_interfaces_that_exchange_their_names_exchange_what_becomes_of_them() {
    at_each_hook(|world| {
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let later = later(world);
        let agent = world.agent_at("to-client", &[ROUTE]);
        agent.signal(Signal::SIGSTOP);
        world.node.ip("link set to-client name between
             link set to-comer name to-client
             link set between name to-comer");
        agent.signal(Signal::SIGCONT);
        agent.wait_for("interface to-comer: released");
        agent.wait_for_nth(2, "captured", |line| line.starts_with("interface to-client: captured"));
        assert_all_reach(world, &later, "proxy");
        assert_all_reach(world, &world.client, "server");
        agent.stop();
    });
}

#[test]
fn an_interface_that_moves_to_another_namespace_and_back_is_captured_again() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let (later, away) = (later(world), Netns::new("away"));
        let agent = world.agent_at("to-c*", &[ROUTE]);
        for round in 1..=2 {
            // The second time it is back, with the number that it had, before the agent looks.
            if round == 2 {
                agent.signal(Signal::SIGSTOP);
            }
            world.node.ip(&format!("link set to-comer netns {}", away.path()));
            if round == 1 {
                wait_for(&agent, 1, "gone");
            }
            away.ip(&format!("link set to-comer netns {}", world.node.path()));
            if round == 2 {
                agent.signal(Signal::SIGCONT);
            }
            wait_for(&agent, round + 1, "captured");
            readdress(world);
            assert_all_reach(world, &later, "proxy");
        }
        wait_for(&agent, 2, "gone");
        agent.stop();
    });
}

#[test]
fn an_address_is_this_hosts_as_long_as_an_interface_has_it() {
    at_each_hook(|world| {
        // Not transparent: it takes only connections to the host's own addresses.
        let _proxy = FAMILIES
            .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), 15001)).transparent(false)));
        let agent = world.agent_at("to-c*", &["all:8080=proxy:15001 else reset"]);
        let change = |verb: &str, interface: &str| {
            world.node.ip(&format!(
                "address {verb} 192.0.2.1/32 dev {interface}
                 address {verb} 2001:db8:2::1/128 dev {interface}"
            ));
            wait_until_followed(world, &agent);
        };
        let services = FAMILIES.map(Family::service);
        change("add", "lo");
        change("add", "to-server");
        services.iter().for_each(|service| world.assert_reaches((*service, PORT), "proxy"));
        change("delete", "lo");
        services.iter().for_each(|service| world.assert_reaches((*service, PORT), "proxy"));
        change("delete", "to-server");
        services.iter().for_each(|service| world.assert_refused((*service, PORT)));
        assert_eq!(agent.stop().unavailable("all"), 2);
    });
}

#[test]
fn an_interface_that_is_down_is_captured_and_stays_so_when_it_goes_down_and_up() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("to-c*", &[ROUTE]);
        world.node.ip("link add to-child type bridge");
        agent.wait_for("interface to-child: captured");
        let later = later(world);
        wait_for(&agent, 1, "captured");
        assert_all_reach(world, &later, "proxy");
        world.node.ip("link set to-comer down");
        readdress(world);
        wait_until_followed(world, &agent);
        assert_all_reach(world, &later, "proxy");
        let captured = agent.said().iter().filter(|line| line.contains("to-comer")).count();
        assert_eq!(captured, 1, "it was captured once, and never released");
        agent.stop();
    });
}

#[test]
fn interfaces_that_come_while_the_agent_stands_still_are_captured_when_it_goes_on() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("to-c*", &[ROUTE]);
        agent.signal(Signal::SIGSTOP);
        let pairs = 0..250;
        let lines = pairs.map(|n| format!("link add to-c{n}a type veth peer name to-c{n}b\n"));
        world.node.ip(&lines.collect::<String>());
        let later = later(world);
        agent.signal(Signal::SIGCONT);
        // It is up and the others are down: it does not wait for them.
        wait_for(&agent, 1, "captured");
        assert_all_reach(world, &later, "proxy");
        let is_captured = |line: &str| line.starts_with("interface to-c") && line.contains(": captured");
        for nth in (0..=500).step_by(50) {
            // And the two that were there.
            agent.wait_for_nth(nth + 2, "captured", is_captured);
        }
        agent.kill();
    });
}

#[test]
fn when_notices_are_lost_everything_is_looked_at() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let (before, away) = (later(world), Netns::new("away"));
        let agent = world.agent_at("to-c*", &[ROUTE]);
        agent.signal(Signal::SIGSTOP);
        // More than there is room for: each gives rise to a notice of about two kilobytes.
        let aliases = (0..12_000).map(|n| format!("link set lo alias a{n}\n"));
        world.node.ip(&aliases.collect::<String>());
        // Of these the agent is not told.
        world.node.ip(&format!("link set to-comer netns {}", away.path()));
        away.ip(&format!("link set to-comer netns {}", world.node.path()));
        readdress(world);
        let after = Netns::new("after");
        world.link(&after, "to-c-after", "10.0.7", "2001:db8:7::");
        agent.signal(Signal::SIGCONT);
        agent.wait_for("notices of interfaces were lost");
        agent.wait_for("interface to-c-after: captured");
        assert_all_reach(world, &after, "proxy");
        // It has the number and the name that it had. A TCX program goes with its interface, a filter does not.
        if world.hook == Hook::Clsact {
            agent.wait_for("repaired: interface to-comer: captured again");
        }
        assert_all_reach(world, &before, "proxy");
        agent.stop();
    });
}

#[test]
fn where_everything_cannot_be_read_after_lost_notices_it_is_tried_again_soon() {
    in_world(|world| {
        let _proxy = world.proxy();
        // Long after the test's end.
        let agent = world.agent_with(&[ROUTE], &["--reconcile", "1h", "--interface", "to-c*"]);
        agent.signal(Signal::SIGSTOP);
        let aliases = (0..12_000).map(|n| format!("link set lo alias a{n}\n"));
        world.node.ip(&aliases.collect::<String>());
        let later = later(world);
        // To read takes a socket.
        let limit = |number: u64| {
            let line = format!("prlimit --pid {} --nofile={number}:", agent.pid());
            world.node.output(&line);
        };
        limit(3);
        agent.signal(Signal::SIGCONT);
        for nth in 1..=2 {
            agent.wait_for_nth(nth, "it failed", |line| {
                line.starts_with("warning: list interfaces: Too many")
            });
        }
        limit(4096);
        wait_for(&agent, 1, "captured");
        assert_all_reach(world, &later, "proxy");
        agent.stop();
    });
}
