//! UDP to a proxy.

use std::{
    fs,
    net::Ipv6Addr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use crate::support::{
    World, at_each_hook,
    datagrams::{Client, Datagrams, Receiver},
    frames::{Wire, udp},
    in_world,
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

#[test]
fn each_datagram_gets_what_the_routes_say_when_it_comes() {
    at_each_hook(|world| {
        let _receivers = (proxies(world), real_receivers(world));
        let agent = world.agent(&["9=drop"]);
        let clients = FAMILIES.map(|family| Client::new(&world.client, (family.server(), PORT)));
        for _ in 0..5 {
            for (target, name) in
                [("{ proxy = 15001 }", "proxy"), ("{ proxy = 15002 }", "other"), ("'pass'", "server")]
            {
                let file = world.node.state_dir().join("routes.toml");
                let route = format!("name = 'dns'\nprotocol = 'udp'\nports = [{PORT}]\ntarget = {target}\n");
                fs::write(&file, format!("version = 1\n[[route]]\n{route}")).expect("write a file of routes");
                world.redirector(&format!("route apply -f {}", file.display())).assert_code(0);
                for client in &clients {
                    assert_eq!(client.ask().expect("somebody answers"), name);
                }
            }
        }
        agent.stop();
    });
}

#[test]
fn no_datagram_is_lost_between_two_routes() {
    at_each_hook(|world| {
        let _receivers = (proxies(world), real_receivers(world));
        let agent = world.agent(&["9=drop"]);
        let clients = FAMILIES.map(|family| Client::new(&world.client, (family.server(), PORT)));
        let (flows, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let asked = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0_u32;
                while !ended.load(SeqCst) {
                    for client in &clients {
                        let name = client.ask().expect("somebody answers");
                        assert!(["proxy", "other", "server"].contains(&&*name), "{name}");
                        asked += 1;
                    }
                    flows.store(true, SeqCst);
                }
                asked
            });
            while !flows.load(SeqCst) && !asking.is_finished() {
                thread::yield_now();
            }
            for number in 0..30 {
                let (name, port) = (format!("r{number}"), PROXY_PORT + number % 2);
                let route = format!("{name}:udp/10.0.3.2,[2001:db8:3::2]:8080=proxy:{port}");
                world.redirector(&format!("route add {route}")).assert_code(0);
                world.redirector(&format!("route remove {name}")).assert_code(0);
            }
            ended.store(true, SeqCst);
            asking.join().expect("every datagram is answered")
        });
        assert!(asked > 60, "{asked} datagrams flowed");
        agent.stop();
    });
}

/// Two proxies of both families.
fn proxies(world: &World) -> [[Datagrams; 2]; 2] {
    FAMILIES.map(|family| {
        [("proxy", PROXY_PORT), ("other", PROXY_PORT + 1)]
            .map(|(name, port)| Receiver::proxy((family.loopback(), port)).serve(&world.node, name))
    })
}

#[test]
fn both_protocols_of_a_port_have_routes_of_their_own() {
    at_each_hook(|world| {
        let _proxies = (world.proxy(), world.datagram_proxy());
        let agent = world.agent(&["web:8080=proxy:15001", "dns:udp/8080=proxy:15001", "udp/8081=drop"]);
        for address in ["127.0.0.1", "[::1]"] {
            agent.wait_for(&format!("proxy {address}:15001: listening, transparent"));
            agent.wait_for(&format!("proxy udp/{address}:15001: listening, transparent"));
        }
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                world.assert_reaches((address, PORT), "proxy");
                world.assert_datagram_reaches((address, PORT), "proxy");
                world.assert_datagram_silent((address, PORT + 1));
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("web"), summary.lost("web")), (4, 0));
        assert_eq!((summary.connections("dns"), summary.lost("dns")), (4, 0));
        assert_eq!(summary.packets("dropped", "drop-route"), 4);
    });
}

#[test]
fn a_route_that_would_catch_answers_is_refused_at_the_start_and_later() {
    in_world(|world| {
        world.node.set_sysctl("ipv4/ip_local_port_range", "20000 30000");
        let refused = |text: &str| {
            text.contains(
                "udp ports 25000 overlap those of this host's own sockets (ip_local_port_range, 20000-30000)",
            ) && text.contains("give the route a destination prefix")
        };
        let start = world.redirector("run --interface to-client --route x:udp/25000=proxy:15001");
        assert!(refused(&start.assert_code(5).stderr), "{start:#?}");
        let check = world.redirector("check --route x:udp/25000=proxy:15001");
        assert!(refused(&check.assert_code(5).stdout), "{check:#?}");
        let agent = world.agent(&["udp/40000=proxy:15001", "udp/192.0.2.1:25000=proxy:15001", "25000=drop"]);
        let added = world.redirector("route add x:udp/25000=proxy:15001");
        assert!(refused(&added.assert_code(5).stderr), "{added:#?}");
        world.redirector("route add x:udp/25000=pass").assert_code(0);
        agent.stop();
    });
}

/// Servers of the real destination, in both families.
fn real_receivers(world: &World) -> [Datagrams; 2] {
    FAMILIES.map(|family| Receiver::ordinary((family.server(), PORT)).serve(&world.server, "server"))
}
