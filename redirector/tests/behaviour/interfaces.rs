//! Interfaces that come, go and are not captured.

use crate::support::{
    Listener, Netns, at_each_hook,
    world::{FAMILIES, PORT},
};

#[test]
fn an_interface_that_comes_later_is_captured_and_one_that_goes_is_forgotten() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("to-c*", &["all:8080=proxy:15001"]);
        let later = Netns::new("later");
        for round in 1..=3 {
            // The same name each time, and a number of its own.
            world.link(&later, "to-comer", "10.0.4", "2001:db8:4::");
            agent.wait_for_nth(round, "captured", |line| line.starts_with("interface to-comer: captured"));
            for family in FAMILIES {
                for address in [family.service(), family.node(), family.server()] {
                    world.assert_reaches_from(&later, (address, PORT), "proxy");
                }
            }
            world.node.ip("link delete to-comer");
            agent.wait_for_nth(round, "gone", |line| line.ends_with(": gone"));
        }
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        assert_eq!(agent.stop().connections("all"), 20);
    });
}

#[test]
fn an_address_that_comes_later_is_this_hosts() {
    at_each_hook(|world| {
        let _proxy = FAMILIES
            .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), 15001)).transparent(false)));
        let _agent = world.agent(&["all:8080=proxy:15001 else drop"]);
        for family in FAMILIES {
            world.assert_silent((family.service(), PORT));
        }
        world.node.ip("address add 192.0.2.1/32 dev lo\naddress add 2001:db8:2::1/128 dev lo");
        for family in FAMILIES {
            // The kernel tells the agent, which tells the programs: a SYN or two may come before that.
            world.assert_comes_to_reach((family.service(), PORT), "proxy");
        }
    });
}

#[test]
fn an_interface_that_is_not_captured_is_left_alone() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT);
        let other = Netns::new("other");
        world.link(&other, "to-other", "10.0.4", "2001:db8:4::");
        let agent = world.agent_at("to-client", &["all:8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
            world.assert_reaches_from(&other, (family.server(), PORT), "server");
        }
        assert_eq!(agent.stop().connections("all"), 2);
    });
}

#[test]
fn clients_behind_a_bridge_are_steered_at_its_port_and_at_the_bridge_itself() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT);
        // The node's addresses, and its MAC address, move from the link to a bridge that the link is a port of.
        world.node.ip(
            "link add bridge address 02:00:00:00:00:01 type bridge forward_delay 0 mcast_snooping 0
             link set bridge addrgenmode none
             address flush dev to-client
             link set to-client master bridge
             address add 10.0.1.1/24 dev bridge
             address add 2001:db8:1::1/64 dev bridge nodad
             link set bridge up
             neighbour add 10.0.1.2 lladdr 02:00:00:00:00:02 dev bridge nud permanent
             neighbour add 2001:db8:1::2 lladdr 02:00:00:00:00:02 dev bridge nud permanent",
        );
        for interfaces in ["to-client", "bridge"] {
            let agent = world.agent_at(interfaces, &["all:8080=proxy:15001"]);
            for family in FAMILIES {
                for address in [family.service(), family.server(), family.node()] {
                    world.assert_reaches((address, PORT), "proxy");
                }
            }
            let summary = agent.stop();
            assert_eq!([summary.connections("all"), summary.lost("all")], [6, 0], "captured at {interfaces}");
        }
    });
}
