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
