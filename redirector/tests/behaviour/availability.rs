//! Proxies that stop and start: what new connections get meanwhile, and that they come back by themselves.

use nix::sys::signal::Signal;

use crate::support::{
    Connection, Listener, World, ask, at_each_hook,
    world::{FAMILIES, PORT, PROXY_PORT},
};

#[test]
fn without_the_proxy_connections_pass_to_what_is_really_there() {
    at_each_hook(|world| {
        let _real = world.real_server(PORT);
        let _local =
            FAMILIES.map(|family| Listener::ordinary((family.node(), PORT)).serve(&world.node, "local"));
        let agent = world.agent(&["all:8080-8081=proxy:15001"]);
        let reach_what_is_there = || {
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), "server");
                world.assert_reaches((family.node(), PORT), "local");
                // Where nobody listens they get the reset of whoever is there.
                world.assert_refused((family.server(), PORT + 1));
                world.assert_refused((family.node(), PORT + 1));
            }
        };
        let said = agent.wait_for("proxy 127.0.0.1:15001:");
        assert!(said.contains("not listening yet"), "{said}");
        reach_what_is_there();
        for _ in 0..3 {
            let proxy = world.proxy();
            assert_everything_reaches_the_proxy(world);
            drop(proxy);
            reach_what_is_there();
        }
        let summary = agent.stop();
        assert_eq!(
            [summary.connections("all"), summary.unavailable("all"), summary.lost("all")],
            [18, 32, 0]
        );
        assert_eq!(summary.packets("passed", "no-listener"), 32);
    });
}

#[test]
fn without_the_proxy_connections_are_dropped_where_the_route_says_so() {
    at_each_hook(|world| {
        let real = world.real_server(PORT);
        let local =
            FAMILIES.map(|family| Listener::ordinary((family.node(), PORT)).serve(&world.node, "local"));
        let proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001 else drop"]);
        assert_everything_reaches_the_proxy(world);
        drop(proxy);
        for family in FAMILIES {
            world.assert_silent((family.server(), PORT));
            world.assert_silent((family.node(), PORT));
        }
        let _proxy = world.proxy();
        assert_everything_reaches_the_proxy(world);
        assert!(
            real.iter().chain(&local).all(|server| server.accepted() == 0),
            "nothing went past the proxy"
        );
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.unavailable("all")], [12, 4]);
        assert_eq!(summary.packets("dropped", "no-listener"), 4);
    });
}

#[test]
fn a_new_proxy_is_found_by_the_next_syn_though_the_agent_is_stopped() {
    at_each_hook(|world| {
        let _real = world.real_server(PORT);
        let proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        assert_everything_reaches_the_proxy(world);
        agent.signal(Signal::SIGSTOP);
        drop(proxy);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "server");
        }
        let _proxy = world.proxy();
        assert_everything_reaches_the_proxy(world);
        agent.signal(Signal::SIGCONT);
        assert_eq!(agent.stop().packets("passed", "no-listener"), 2);
    });
}

#[test]
fn a_listener_that_was_shut_down_but_not_closed_does_not_hide_its_successor() {
    at_each_hook(|world| {
        let _real = world.real_server(PORT);
        let shut_down = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        assert_everything_reaches_the_proxy(world);
        shut_down.iter().for_each(|server| server.shut_down());
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "server");
        }
        let _proxy = world.proxy();
        assert_everything_reaches_the_proxy(world);
        assert_eq!(agent.stop().lost("all"), 0);
        drop(shut_down);
    });
}

#[test]
fn connections_to_a_proxy_that_no_longer_listens_go_on() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        let _agent = world.agent(&["all:8080=proxy:15001"]);
        let destinations = FAMILIES.into_iter().flat_map(|family| [family.service(), family.node()]);
        let mut connections: Vec<_> = destinations
            .map(|address| {
                Connection::open(&world.client, (address, PORT).into()).expect("the proxy answers")
            })
            .collect();
        proxy.iter().for_each(|server| server.shut_down());
        for family in FAMILIES {
            world.assert_refused((family.node(), PORT));
        }
        for _ in 0..10 {
            connections.iter_mut().for_each(Connection::assert_echoes);
        }
    });
}

#[test]
fn every_member_of_a_reuseport_group_gets_connections() {
    at_each_hook(|world| {
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            let listener = Listener::proxy((family.loopback(), PROXY_PORT)).sharing_port();
            let mut members: Vec<_> = (0..4).map(|_| world.serve_proxy(listener.clone())).collect();
            // The kernel picks by a hash: that one of four gets none of 64 has a chance of 10^-8. Whichever member is
            // the one that was learned, it is among those that go.
            while !members.is_empty() {
                let before: Vec<_> = members.iter().map(|member| member.accepted()).collect();
                for address in [family.service(), family.node()] {
                    for _ in 0..32 {
                        world.assert_reaches((address, PORT), "proxy");
                    }
                }
                let got: Vec<_> =
                    members.iter().zip(before).map(|(member, n)| member.accepted() - n).collect();
                assert!(
                    got.iter().all(|count| *count > 0),
                    "each of {} members gets some: {got:?}",
                    members.len()
                );
                assert_eq!(got.iter().sum::<usize>(), 64);
                members.remove(0);
            }
            assert!(ask(&world.client, (family.node(), PORT).into()).is_err(), "no member is left");
        }
        assert_eq!(agent.stop().lost("all"), 0);
    });
}

/// Three connections of each family: to a service, to another host that has a server, to the node itself.
#[track_caller]
fn assert_everything_reaches_the_proxy(world: &World) {
    for family in FAMILIES {
        for address in [family.service(), family.server(), family.node()] {
            world.assert_reaches((address, PORT), "proxy");
        }
    }
}
