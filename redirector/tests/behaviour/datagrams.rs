//! UDP to a proxy.

use crate::support::{
    World, at_each_hook,
    datagrams::{Client, Receiver},
    world::{FAMILIES, PORT, PROXY_PORT},
};

#[test]
fn datagrams_reach_the_proxy_and_answers_come_from_the_original_address() {
    at_each_hook(|world| {
        let proxy = world.datagram_proxy();
        let _real = real_receivers(world);
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.server(), family.node(), family.node_to_server()] {
                let client = Client::new(&world.client, (address, PORT));
                for _ in 0..3 {
                    assert_eq!(client.ask().expect("the proxy answers"), "proxy");
                }
            }
        }
        assert_eq!(proxy.each_ref().map(|proxy| proxy.received()), [12, 12]);
        let summary = agent.stop();
        // Each is decided by itself.
        assert_eq!([summary.connections("all"), summary.unavailable("all"), summary.lost("all")], [24, 0, 0]);
        assert_eq!(summary.packets("steered", "proxy"), 24);
        for family in FAMILIES {
            world.assert_datagram_reaches((family.server(), PORT), "server");
        }
    });
}

#[test]
fn a_proxy_that_connects_a_socket_for_each_client_gets_what_follows_by_it() {
    at_each_hook(|world| {
        let proxy = FAMILIES
            .map(|family| world.receive(Receiver::proxy((family.loopback(), PROXY_PORT)).per_client()));
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                let clients = [(); 2].map(|()| Client::new(&world.client, (address, PORT)));
                for client in &clients {
                    assert_eq!(client.ask().expect("the proxy answers"), "proxy");
                }
                for client in clients.iter().cycle().take(10) {
                    assert_eq!(client.ask().expect("the proxy's socket answers"), "proxy's");
                }
            }
        }
        assert_eq!(proxy.each_ref().map(|proxy| proxy.received()), [4, 4]);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (8, 0));
        assert_eq!(summary.packets("steered", "established"), 20);
        assert_eq!(summary.packets("passed", "local"), 20);
    });
}

/// Servers of the real destination, in both families.
fn real_receivers(world: &World) -> [crate::support::datagrams::Datagrams; 2] {
    FAMILIES.map(|family| Receiver::ordinary((family.server(), PORT)).serve(&world.server, "server"))
}
