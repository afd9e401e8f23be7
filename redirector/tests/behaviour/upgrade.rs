//! One agent after another, as at an upgrade: what becomes of connections that began under the first.

use crate::support::{
    Connection, World, at_each_hook,
    world::{FAMILIES, PORT},
};

#[test]
fn connections_that_are_idle_between_two_agents_go_on_under_the_next() {
    at_each_hook(|world| {
        let _servers = (world.proxy(), world.real_server(PORT));
        let agent = world.agent(ROUTES);
        let mut connections = open(world);
        agent.stop();
        let agent = world.agent(ROUTES);
        connections.iter_mut().flatten().for_each(Connection::assert_echoes);
        assert_eq!(agent.stop().connections("web"), 0, "none of them is a new one");
    });
}

#[test]
fn what_a_connection_to_another_hosts_address_says_between_two_agents_waits_for_the_next() {
    at_each_hook(|world| {
        let _servers = (world.proxy(), world.real_server(PORT));
        let agent = world.agent(ROUTES);
        let mut connections = open(world);
        agent.stop();
        for (family, [local, foreign]) in FAMILIES.into_iter().zip(&mut connections) {
            local.assert_echoes();
            // The kernel finds its socket here, and a packet that has one is not forwarded (ip_forward): it is lost,
            // and sent again.
            foreign.send();
            world.assert_reaches((family.server(), PORT), "server");
        }
        let agent = world.agent(ROUTES);
        for (family, [_, foreign]) in FAMILIES.into_iter().zip(&mut connections) {
            foreign.assert_comes_back();
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        agent.stop();
    });
}

const ROUTES: &[&str] = &["web:8080=proxy:15001"];

/// Connections to an address of the node, and to another host's.
fn open(world: &World) -> [[Connection; 2]; 2] {
    FAMILIES.map(|family| {
        [family.node(), family.server()].map(|address| {
            let connection = Connection::open(&world.client, (address, PORT).into()).expect("it is steered");
            assert_eq!(connection.answer.name, "proxy");
            connection
        })
    })
}
