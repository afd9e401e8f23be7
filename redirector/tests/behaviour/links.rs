//! Interfaces of other kinds than a veth pair's end: bridges and their ports, devices without Ethernet headers, VLANs.

use crate::support::{
    Connection, Netns, World, at_each_hook,
    datagrams::{Client, Receiver, assert_datagram_refused},
    frames::{self, Wire, flag},
    in_world,
    tunnel::{TUN, Tunnel},
    world::{FAMILIES, Family, PORT},
};

/// A bridge on the node with a client and a server at two of its ports. The client reaches the server without the
/// node's routing, and everybody else by it.
struct Bridged {
    client: Netns,
    server: Netns,
}

impl Bridged {
    fn new(world: &World) -> Self {
        let [client, server] = ["bridged client", "bridged server"].map(Netns::new);
        world.node.ip("link add br0 address 02:00:00:00:00:01 type bridge mcast_snooping 0
             link set br0 addrgenmode none
             address add 10.0.6.1/24 dev br0
             address add 2001:db8:6::1/64 dev br0 nodad
             link set br0 up");
        for (netns, port, host) in [(&client, "port-client", 2), (&server, "port-server", 3)] {
            world.node.ip(&format!(
                "link add {port} type veth peer name eth0 address 02:00:00:00:06:0{host} netns {}
                 link set {port} addrgenmode none
                 link set {port} master br0
                 link set {port} up",
                netns.path()
            ));
            netns.ip(&format!(
                "link set eth0 addrgenmode none
                 address add 10.0.6.{host}/24 dev eth0
                 address add 2001:db8:6::{host}/64 dev eth0 nodad
                 link set eth0 up
                 neighbour add 10.0.6.{other} lladdr 02:00:00:00:06:0{other} dev eth0 nud permanent
                 neighbour add 2001:db8:6::{other} lladdr 02:00:00:00:06:0{other} dev eth0 nud permanent
                 neighbour add 10.0.6.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
                 neighbour add 2001:db8:6::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
                 route add default via 10.0.6.1
                 route add default via 2001:db8:6::1",
                other = 5 - host
            ));
            world.node.ip(&format!(
                "neighbour add 10.0.6.{host} lladdr 02:00:00:00:06:0{host} dev br0 nud permanent
                 neighbour add 2001:db8:6::{host} lladdr 02:00:00:00:06:0{host} dev br0 nud permanent"
            ));
        }
        Self { client, server }
    }

    /// The server's address, on the client's own network.
    fn neighbour(family: Family) -> std::net::IpAddr {
        match family {
            Family::V4 => [10, 0, 6, 3].into(),
            Family::V6 => [0x2001, 0xdb8, 6, 0, 0, 0, 0, 3].into(),
        }
    }

    fn serve(&self) -> [crate::support::Server; 2] {
        FAMILIES.map(|family| {
            crate::support::Listener::ordinary((Self::neighbour(family), PORT))
                .serve(&self.server, "neighbour")
        })
    }
}

#[test]
fn at_a_port_of_a_bridge_what_is_routed_and_what_is_bridged_reaches_the_proxy() {
    for filtered in ["0", "1"] {
        at_each_hook(|world| {
            let bridged = Bridged::new(world);
            for family in ["ip", "ip6"] {
                world.node.set_sysctl(&format!("bridge/bridge-nf-call-{family}tables"), filtered);
            }
            let (_neighbour, _proxy) = (bridged.serve(), world.proxy());
            let mut before = FAMILIES.map(|family| {
                Connection::open(&bridged.client, (Bridged::neighbour(family), PORT).into())
                    .expect("its neighbour answers")
            });
            let agent = world.agent_at("port-client", &["all:8080=proxy:15001"]);
            for family in FAMILIES {
                for address in [Bridged::neighbour(family), family.service(), family.node()] {
                    world.assert_reaches_from(&bridged.client, (address, PORT), "proxy");
                    let mut connection =
                        Connection::open(&bridged.client, (address, PORT).into()).expect("the proxy answers");
                    connection.assert_echoes_much(1 << 20);
                }
            }
            // What began before goes on to the other port.
            before.iter_mut().for_each(Connection::assert_echoes);
            let summary = agent.stop();
            assert_eq!((summary.connections("all"), summary.lost("all")), (12, 0));
            for family in FAMILIES {
                world.assert_reaches_from(&bridged.client, (Bridged::neighbour(family), PORT), "neighbour");
            }
        });
    }
}

#[test]
fn at_a_port_of_a_bridge_datagrams_reach_the_proxy_or_are_refused() {
    at_each_hook(|world| {
        let bridged = Bridged::new(world);
        let _neighbour = FAMILIES.map(|family| {
            let at = (Bridged::neighbour(family), PORT);
            Receiver::ordinary(at).serve(&bridged.server, "neighbour")
        });
        let proxy = world.datagram_proxy();
        let agent = world.agent_at("port-client", &["all:udp/8080=proxy:15001 else reset"]);
        let destinations = |family: Family| [Bridged::neighbour(family), family.service(), family.node()];
        for family in FAMILIES {
            for address in destinations(family) {
                world.assert_datagram_reaches_from(&bridged.client, (address, PORT), "proxy");
            }
        }
        drop(proxy);
        for family in FAMILIES {
            for address in destinations(family) {
                assert_datagram_refused(&Client::new(&bridged.client, (address, PORT)));
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.unavailable("all"), summary.lost("all")), (6, 6, 0));
        for family in FAMILIES {
            let neighbour = (Bridged::neighbour(family), PORT);
            world.assert_datagram_reaches_from(&bridged.client, neighbour, "neighbour");
        }
    });
}

#[test]
fn at_the_bridge_itself_what_is_routed_reaches_the_proxy() {
    at_each_hook(|world| {
        let bridged = Bridged::new(world);
        let (_neighbour, _proxy) = (bridged.serve(), world.proxy());
        let agent = world.agent_at("br0", &["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                world.assert_reaches_from(&bridged.client, (address, PORT), "proxy");
            }
            world.assert_reaches_from(&bridged.client, (Bridged::neighbour(family), PORT), "neighbour");
        }
        assert_eq!(agent.stop().connections("all"), 4);
    });
}

#[test]
fn where_a_bridge_and_its_port_are_captured_each_connection_is_counted_once() {
    at_each_hook(|world| {
        let bridged = Bridged::new(world);
        let (_neighbour, _proxy) = (bridged.serve(), world.proxy());
        let agent = world.agent_at("[bp]*", &["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [Bridged::neighbour(family), family.service()] {
                world.assert_reaches_from(&bridged.client, (address, PORT), "proxy");
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
        assert!(summary.packets("passed", "marked") > 0, "the bridge sees what its port has marked");
    });
}

#[test]
fn an_interface_that_becomes_a_port_of_a_bridge_or_ceases_to_be_one_is_followed() {
    at_each_hook(|world| {
        let bridged = Bridged::new(world);
        let (_neighbour, _proxy) = (bridged.serve(), world.proxy());
        world.node.ip("link set port-client nomaster");
        let agent = world.agent_at("port-client", &["all:8080=proxy:15001"]);
        for round in 1..=2 {
            world.node.ip("link set port-client master br0");
            agent.wait_for_nth(round, "it is a port now", |line| line.contains("port of a bridge now"));
            for family in FAMILIES {
                world.assert_reaches_from(&bridged.client, (Bridged::neighbour(family), PORT), "proxy");
            }
            // The bridge's address can change, too.
            world.node.ip(&format!(
                "link set br0 address 02:00:00:00:0b:0{round}
                 neighbour replace 10.0.6.2 lladdr 02:00:00:00:06:02 dev br0 nud permanent
                 neighbour replace 2001:db8:6::2 lladdr 02:00:00:00:06:02 dev br0 nud permanent"
            ));
            bridged.client.ip(&format!(
                "neighbour replace 10.0.6.1 lladdr 02:00:00:00:0b:0{round} dev eth0 nud permanent
                 neighbour replace 2001:db8:6::1 lladdr 02:00:00:00:0b:0{round} dev eth0 nud permanent"
            ));
            for family in FAMILIES {
                // The kernel tells the agent of it, which tells the programs: until then the port of the neighbour has it.
                let to = (Bridged::neighbour(family), PORT);
                let answers = || crate::support::ask(&bridged.client, to.into()).expect("somebody answers");
                let begin = std::time::Instant::now();
                while answers().name != "proxy" && begin.elapsed() < crate::support::DEADLINE {}
                world.assert_reaches_from(&bridged.client, to, "proxy");
            }
            world.node.ip("link set port-client nomaster");
            agent.wait_for_nth(round, "it is none", |line| line.contains("no port of a bridge"));
        }
        world.node.ip("link set port-client master br0");
        agent.wait_for_nth(3, "it is a port now", |line| line.contains("port of a bridge now"));
        for family in FAMILIES {
            world.assert_reaches_from(&bridged.client, (Bridged::neighbour(family), PORT), "proxy");
            world.assert_reaches_from(&bridged.client, (family.service(), PORT), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn packets_without_an_ethernet_header_reach_the_proxy() {
    at_each_hook(|world| {
        let client = Netns::new("tunnel client");
        let _tunnel = Tunnel::new([&world.node, &client]);
        world
            .node
            .ip(&format!("address add 10.0.5.1/24 dev {TUN}\naddress add 2001:db8:5::1/64 dev {TUN} nodad"));
        client.ip(&format!(
            "address add 10.0.5.2/24 dev {TUN}
             address add 2001:db8:5::2/64 dev {TUN} nodad
             route add default dev {TUN}
             route add ::/0 dev {TUN}"
        ));
        let agent =
            world.agent_at(TUN, &["all:8080=proxy:15001 else reset", "dns:udp/8080=proxy:15001 else reset"]);
        for family in FAMILIES {
            assert_datagram_refused(&Client::new(&client, (family.service(), PORT)));
            assert_datagram_refused(&Client::new(&client, (family.node(), PORT)));
            let refused =
                crate::support::ask(&client, (family.service(), PORT).into()).map(|answer| answer.name);
            assert_eq!(refused.expect_err("nobody listens").kind(), std::io::ErrorKind::ConnectionRefused);
        }
        let _proxy = (world.proxy(), world.datagram_proxy());
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                world.assert_datagram_reaches_from(&client, (address, PORT), "proxy");
                world.assert_reaches_from(&client, (address, PORT), "proxy");
                Connection::open(&client, (address, PORT).into())
                    .expect("the proxy answers")
                    .assert_echoes_much(1 << 20);
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.unavailable("all"), summary.lost("all")), (8, 2, 0));
        assert_eq!((summary.connections("dns"), summary.unavailable("dns"), summary.lost("dns")), (4, 4, 0));
    });
}

#[test]
fn a_frame_that_is_for_another_host_or_for_many_is_left_alone() {
    at_each_hook(|world| {
        let agent = world.agent(&["all:8080=proxy:15001 else reset"]);
        world.node.ip("link set to-client promisc on");
        let wire = Wire::open(&world.client, "to-node");
        let seen = Wire::open(&world.client, "to-node");
        for family in FAMILIES {
            for mac in [[2, 0, 0, 0, 0, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
                let mut frame =
                    frames::tcp((family.client(), 40000).into(), (family.service(), PORT).into(), flag::SYN);
                frame[..6].copy_from_slice(&mac);
                wire.send(&frame);
            }
        }
        wire.send(&frames::ethernet(frames::ETH_P_LOCAL, &[0; 46]));
        seen.receive_until_end();
        // A connection behind them, so that they have been seen.
        world.assert_refused((Family::V4.service(), PORT));
        let summary = agent.stop();
        assert_eq!(summary.packets("passed", "other-host"), 6);
        assert_eq!(summary.unavailable("all"), 1);
    });
}

#[test]
fn tagged_frames_on_the_parent_device_pass() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        let wire = Wire::open(&world.client, "to-node");
        for family in FAMILIES {
            let syn =
                frames::tcp((family.client(), 40000).into(), (family.service(), PORT).into(), flag::SYN);
            // One tag, and two.
            for tags in [&[0x81, 0, 0, 10][..], &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20]] {
                wire.send(&[&syn[..12], tags, &syn[12..]].concat());
            }
        }
        world.assert_reaches((Family::V4.service(), PORT), "proxy");
        let summary = agent.stop();
        assert_eq!((summary.packets("passed", "vlan"), summary.connections("all")), (4, 1));
    });
}
