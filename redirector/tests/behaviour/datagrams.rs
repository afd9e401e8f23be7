//! UDP to a proxy.

use std::net::Ipv6Addr;

use crate::support::{
    World, at_each_hook,
    datagrams::{Client, Datagrams, Receiver},
    frames::{Wire, udp},
    napi::receive_in_batches,
    world::{FAMILIES, Family, PORT, PROXY_PORT},
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

#[test]
fn what_the_proxy_and_the_host_send_and_the_answers_to_it_never_come_back_to_the_proxy() {
    at_each_hook(|world| {
        let proxy = world.datagram_proxy();
        let _real = real_receivers(world);
        let _local =
            FAMILIES.map(|family| Receiver::ordinary((family.node(), PORT)).serve(&world.node, "local"));
        // The server's side is captured as well, where the answers arrive, at ports that the route names too.
        let agent = world.agent_at("to-*", &[&format!("all:udp/{EVERYWHERE}:1-65535=proxy:15001")]);
        for family in FAMILIES {
            world.assert_datagram_reaches((family.server(), PORT), "proxy");
            // The node's own processes, the proxy among them, to the same addresses and port.
            world.assert_datagram_reaches_from(&world.node, (family.server(), PORT), "server");
            world.assert_datagram_reaches_from(&world.node, (family.node(), PORT), "local");
            world.assert_datagram_reaches_from(&world.node, (family.loopback(), PROXY_PORT), "proxy");
        }
        assert_eq!(proxy.each_ref().map(Datagrams::received), [2, 2]);
        assert_eq!(agent.stop().connections("all"), 2);
    });
}

/// Every address of a world, without a prefix of no length.
const EVERYWHERE: &str = "10.0.0.0/8,192.0.2.0/24,[2001:db8::/32]";

#[test]
fn a_dual_stack_socket_takes_both_families() {
    at_each_hook(|world| {
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        let any = Ipv6Addr::UNSPECIFIED;
        let proxy = world.receive(Receiver::proxy((any, PROXY_PORT)).dual_stack());
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                world.assert_datagram_reaches((address, PORT), "proxy");
            }
        }
        assert_eq!(proxy.received(), 4);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
    });
}

#[test]
fn every_member_of_a_reuseport_group_gets_datagrams() {
    at_each_hook(|world| {
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        for family in FAMILIES {
            let receiver = Receiver::proxy((family.loopback(), PROXY_PORT)).sharing_port();
            let mut members: Vec<_> = (0..4).map(|_| world.receive(receiver.clone())).collect();
            // By a hash of the flow, as for TCP.
            while !members.is_empty() {
                let before: Vec<_> = members.iter().map(Datagrams::received).collect();
                for address in [family.service(), family.node()] {
                    for _ in 0..32 {
                        world.assert_datagram_reaches((address, PORT), "proxy");
                    }
                }
                let got = members.iter().zip(before).map(|(member, before)| member.received() - before);
                let got: Vec<_> = got.collect();
                assert!(got.iter().all(|count| *count > 0), "each member gets some: {got:?}");
                assert_eq!(got.iter().sum::<usize>(), 64);
                members.remove(0);
            }
        }
        assert_eq!(agent.stop().lost("all"), 0);
    });
}

#[test]
fn datagrams_as_large_as_can_be_and_many_in_one_arrive_whole() {
    for joined in [false, true] {
        at_each_hook(|world| {
            world.node.ip("link set to-client mtu 65535");
            world.client.ip("link set to-node mtu 65535");
            let _proxy = FAMILIES.map(|family| {
                let receiver = Receiver::proxy((family.loopback(), PROXY_PORT));
                world.receive(if joined { receiver.joined() } else { receiver })
            });
            let agent = world.agent(&["all:udp/8080=proxy:15001"]);
            for family in FAMILIES {
                let headers = if family == Family::V4 { 20 + 8 } else { 40 + 8 };
                for address in [family.service(), family.node()] {
                    let client = Client::new(&world.client, (address, PORT));
                    for length in [0, 1, 1472, 65535 - headers] {
                        let datagram = vec![0x5a; length];
                        client.send(&datagram);
                        assert_eq!(client.answer_to(&datagram).expect("the proxy answers"), "proxy");
                    }
                    // Forty and a shorter one.
                    let bytes: Vec<u8> = (0..40 * 1000 + 7).map(|byte| (byte % 251) as u8).collect();
                    client.set_segment(1000);
                    client.send(&bytes);
                    for datagram in bytes.chunks(1000) {
                        assert_eq!(client.answer_to(datagram).expect("the proxy answers"), "proxy");
                    }
                }
            }
            let summary = agent.stop();
            // What stands for many is decided once.
            assert_eq!((summary.connections("all"), summary.lost("all")), (20, 0), "joined: {joined}");
        });
    }
}

#[test]
fn datagrams_that_come_to_this_host_in_fragments_reach_the_proxy() {
    at_each_hook(|world| {
        let _proxy = world.datagram_proxy();
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        for family in FAMILIES {
            let client = Client::new(&world.client, (family.node(), PORT));
            for length in [1473, 4000, 65000] {
                let datagram = vec![0x5a; length];
                client.send(&datagram);
                assert_eq!(client.answer_to(&datagram).expect("the proxy answers"), "proxy");
            }
        }
        let summary = agent.stop();
        // `sk_lookup` gave them away by itself.
        assert_eq!((summary.connections("all"), summary.lost("all")), (0, 0));
        assert_eq!(summary.packets("passed", "fragment"), 49 + 50, "every fragment passes");
    });
}

#[test]
fn datagrams_that_come_in_one_batch_all_reach_the_proxy_and_none_counts_as_lost() {
    at_each_hook(|world| {
        let proxy = world.datagram_proxy();
        receive_in_batches(world);
        let agent = world.agent(&["all:udp/8080=proxy:15001"]);
        let wire = Wire::open(&world.client, "to-node");
        for family in FAMILIES {
            for port in 41000..41060 {
                for address in [family.service(), family.node()] {
                    wire.send(&udp((family.client(), port).into(), (address, PORT).into(), b"one of many"));
                }
            }
            for address in [family.service(), family.node()] {
                world.assert_datagram_reaches((address, PORT), "proxy");
            }
        }
        assert_eq!(proxy.each_ref().map(Datagrams::received), [122, 122]);
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.lost("all")], [244, 0]);
    });
}

/// Servers of the real destination, in both families.
pub fn real_receivers(world: &World) -> [Datagrams; 2] {
    FAMILIES.map(|family| Receiver::ordinary((family.server(), PORT)).serve(&world.server, "server"))
}
