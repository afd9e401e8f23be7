//! The target `interface`: every packet of a route goes to a host that the node's own routes do not lead to.

use crate::support::{
    Connection, Netns, Server, World, at_each_hook,
    datagrams::{Client, Receiver},
    in_world,
    tunnel::{TUN, Tunnel},
    world::{FAMILIES, Family, HOST_MAC, PORT},
};

/// The routes to the service, by the routers on the link to the far host.
const BY_ROUTERS: [&str; 2] = [
    "v4:192.0.2.0/24:8080=interface:to-far via 10.0.5.2",
    "v6:[2001:db8:2::/64]:8080=interface:to-far via 2001:db8:5::2",
];

#[test]
fn packets_go_to_the_router_that_a_route_names() {
    at_each_hook(|world| {
        let (far, _servers) = far(world, Place::BehindIt);
        let agent = world.agent(&BY_ROUTERS);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "far");
            let mut connection = Connection::open(&world.client, (family.service(), PORT).into())
                .expect("the far host answers");
            // In packets that stand for many segments too.
            connection.assert_echoes_much(8 << 20);
            // What no route names goes where it went.
            world.assert_silent((family.service(), PORT + 1));
        }
        let summary = agent.stop();
        for route in ["v4", "v6"] {
            assert_eq!((summary.connections(route), summary.unavailable(route)), (2, 0), "{route}");
        }
        assert!(summary.packets("forwarded", "interface") > 100, "every packet is sent there");
        drop(far);
    });
}

#[test]
fn datagrams_go_to_the_router_that_a_route_names_also_many_in_one() {
    at_each_hook(|world| {
        let (far, _servers) = far(world, Place::BehindIt);
        let _receivers =
            FAMILIES.map(|family| Receiver::ordinary((family.service(), PORT)).serve(&far, "far"));
        let agent = world.agent(&[
            "v4:udp/192.0.2.0/24:8080=interface:to-far via 10.0.5.2 else reset",
            "v6:udp/[2001:db8:2::/64]:8080=interface:to-far via 2001:db8:5::2 else reset",
        ]);
        for family in FAMILIES {
            world.assert_datagram_reaches((family.service(), PORT), "far");
            let client = Client::new(&world.client, (family.service(), PORT));
            let bytes: Vec<u8> = (0..40 * 1000 + 7).map(|byte| (byte % 251) as u8).collect();
            client.set_segment(1000);
            client.send(&bytes);
            for datagram in bytes.chunks(1000) {
                assert_eq!(client.answer_to(datagram).expect("the far host answers"), "far");
            }
        }
        world.node.ip("link set to-far down");
        agent.wait_for("next hop to-far: down");
        for family in FAMILIES {
            world.assert_datagram_refused((family.service(), PORT));
        }
        let summary = agent.stop();
        for route in ["v4", "v6"] {
            assert_eq!((summary.connections(route), summary.unavailable(route)), (2, 1), "{route}");
        }
        assert_eq!(summary.packets("reset", "no-interface"), 2);
    });
}

#[test]
fn without_a_router_the_destination_is_a_neighbour() {
    at_each_hook(|world| {
        let (_far, _servers) = far(world, Place::OnTheLink);
        let agent = world.agent(&["all:8080=interface:to-far"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "far");
        }
        assert_eq!(agent.stop().connections("all"), 2);
    });
}

#[test]
fn an_ipv6_router_takes_ipv4_too() {
    in_world(|world| {
        let (_far, _servers) = far(world, Place::BehindIt);
        let _agent = world.agent(&["all:8080=interface:to-far via 2001:db8:5::2"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "far");
        }
    });
}

#[test]
fn while_the_interface_is_down_or_gone_packets_get_their_else() {
    at_each_hook(|world| {
        let _real = world.real_server(PORT);
        let (far, _servers) = far(world, Place::BehindIt);
        let agent = world.agent(&[
            "pass4:10.0.3.0/24:8080=interface:to-far via 10.0.5.2",
            "pass6:[2001:db8:3::/64]:8080=interface:to-far via 2001:db8:5::2",
            "drop:8081=interface:to-far else drop",
            "reset:8082=interface:to-far else reset",
        ]);
        agent.wait_for("next hop to-far: up");
        for (nth, change) in ["link set to-far down", "link delete to-far"].into_iter().enumerate() {
            world.node.ip(change);
            agent.wait_for_nth(nth + 1, "the interface is gone", |line| {
                line.starts_with("next hop to-far: down")
            });
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), "server");
                world.assert_silent((family.service(), 8081));
                world.assert_refused((family.service(), 8082));
            }
            if change == "link set to-far down" {
                world.node.ip("link set to-far up");
                agent
                    .wait_for_nth(2, "the interface is back", |line| line.starts_with("next hop to-far: up"));
            }
        }
        drop(far);
    });
}

#[test]
fn packets_go_to_and_come_from_devices_without_ethernet_headers() {
    at_each_hook(|world| {
        let far = Netns::new("far");
        let _tunnel = Tunnel::new([&world.node, &far]);
        world
            .node
            .ip(&format!("address add 10.0.5.1/24 dev {TUN}\naddress add 2001:db8:5::1/64 dev {TUN} nodad"));
        far.ip(&format!(
            "address add 10.0.5.2/24 dev {TUN}
             address add 2001:db8:5::2/64 dev {TUN} nodad
             address add 192.0.2.1/32 dev lo
             address add 2001:db8:2::1/128 dev lo nodad
             route add default dev {TUN}
             route add ::/0 dev {TUN}"
        ));
        let _servers = serve(&far);
        // From Ethernet to none.
        let agent = world.agent(&["all:8080=interface:tun0"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "far");
        }
        assert_eq!(agent.stop().connections("all"), 2);

        // And from none to Ethernet: the server has the service's addresses now.
        world.server.ip("address add 192.0.2.9/32 dev to-node
             address add 2001:db8:2::9/128 dev to-node nodad");
        let nine = [[192, 0, 2, 9].into(), std::net::IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 9])];
        let _nine = nine.map(|address| {
            crate::support::Listener::ordinary((address, PORT)).serve(&world.server, "server")
        });
        let agent = world.agent_at(
            TUN,
            &[
                "v4:192.0.2.9:8080=interface:to-server via 10.0.3.2",
                "v6:[2001:db8:2::9]:8080=interface:to-server via 2001:db8:3::2",
            ],
        );
        for address in nine {
            world.assert_reaches_from(&far, (address, PORT), "server");
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("v4"), summary.connections("v6")), (1, 1));
    });
}

/// Where the far host has the service's addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    OnTheLink,
    BehindIt,
}

/// Another host with the service's addresses, on a link of its own, and its servers there.
fn far(world: &World, place: Place) -> (Netns, [Server; 2]) {
    let far = Netns::new("far");
    world.link(&far, "to-far", "10.0.5", "2001:db8:5::");
    let device = if place == Place::OnTheLink { "to-node" } else { "lo" };
    far.ip(&format!(
        "address add 192.0.2.1/32 dev {device}\naddress add 2001:db8:2::1/128 dev {device} nodad"
    ));
    if place == Place::OnTheLink {
        // The links of the world have no multicast, by which an IPv6 neighbour is found.
        world.node.ip(&format!("neighbour add 2001:db8:2::1 lladdr {HOST_MAC} dev to-far nud permanent"));
    }
    let servers = serve(&far);
    (far, servers)
}

fn serve(far: &Netns) -> [Server; 2] {
    FAMILIES
        .map(|family: Family| crate::support::Listener::ordinary((family.service(), PORT)).serve(far, "far"))
}
