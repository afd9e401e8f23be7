//! Which of several routes wins, as connections meet it.

use std::net::IpAddr;

use crate::support::{
    at_each_hook,
    world::{FAMILIES, Family, HOST_MAC, PORT, PROXY_PORT},
};

#[test]
fn an_exclusion_inside_a_wider_route_is_left_alone() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = [22, 80, 443].map(|port| world.real_server(port));
        let agent = world.agent(&[
            "mesh:10.0.3.0/24,[2001:db8:3::/64]:1-65535=proxy:15001",
            "ssh:10.0.3.0/24,[2001:db8:3::/64]:22=pass",
            "dropped:443=drop",
        ]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), 80), "proxy");
            world.assert_reaches((family.server(), 22), "server");
            // The longer destination prefix beats the narrower ports.
            world.assert_reaches((family.server(), 443), "proxy");
            world.assert_silent((family.node(), 443));
            world.assert_refused((family.node(), 80));
        }
        let summary = agent.stop();
        let counts = ["mesh", "ssh", "dropped"].map(|route| summary.connections(route));
        assert_eq!(counts, [4, 2, 2]);
        assert_eq!(summary.packets("passed", "pass-route"), 2);
        assert_eq!(summary.packets("dropped", "drop-route"), 2);
    });
}

#[test]
fn the_ports_that_are_protected_are_not_steered_unless_a_route_says_where_to() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(22);
        let agent = world.agent(&["all:1-65535=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), 22), "server");
            world.assert_reaches((family.server(), 23), "proxy");
            // The proxy's own port leads to whoever is there, and here it is nobody.
            world.assert_refused((family.node(), PROXY_PORT));
        }
        assert_eq!(agent.stop().connections("all"), 2);

        let agent = world.agent(&["ssh:10.0.3.2,[2001:db8:3::2]:22=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), 22), "proxy");
        }
        assert_eq!(agent.stop().connections("ssh"), 2);
    });
}

#[test]
fn the_source_decides_between_routes_to_one_destination() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT);
        // The client has an address for each case.
        world.client.ip("address add 10.0.1.3/24 dev to-node
             address add 10.0.1.4/24 dev to-node
             address add 2001:db8:1::3/64 dev to-node nodad
             address add 2001:db8:1::4/64 dev to-node nodad");
        for host in [3, 4] {
            for family in FAMILIES {
                let address = with_host(family, host);
                world
                    .node
                    .ip(&format!("neighbour add {address} lladdr {HOST_MAC} dev to-client nud permanent"));
            }
        }
        let agent = world.agent(&[
            "wide:10.0.0.0/16,[2001:db8::/32]:8080=drop",
            "a:10.0.3.2,[2001:db8:3::2]:8080=pass from 10.0.1.0/24,2001:db8:1::/64",
            "b:10.0.3.2,[2001:db8:3::2]:8080=proxy:15001 from 10.0.1.3,2001:db8:1::3",
        ]);
        for family in FAMILIES {
            for (host, name) in [(3, "proxy"), (4, "server")] {
                let source = with_host(family, host);
                let route = format!("route replace {} via {} src {source}", family.server(), family.node());
                world.client.ip(&route);
                let to = (family.server(), PORT);
                world.assert_reaches(to, name);
            }
            // From any source, another address of the same network.
            world.assert_silent((family.node_to_server(), PORT));
        }
        let summary = agent.stop();
        assert_eq!(["wide", "a", "b"].map(|route| summary.connections(route)), [2, 2, 2]);
    });
}

#[test]
fn a_single_port_beats_a_range_and_a_narrow_range_a_wide_one() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = [8080, 8085, 8090].map(|port| world.real_server(port));
        let agent = world.agent(&["wide:8000-8999=drop", "narrow:8080-8089=proxy:15001", "single:8085=pass"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), 8080), "proxy");
            world.assert_reaches((family.server(), 8089), "proxy");
            world.assert_reaches((family.server(), 8085), "server");
            world.assert_silent((family.server(), 8090));
        }
        let summary = agent.stop();
        assert_eq!(["wide", "narrow", "single"].map(|route| summary.connections(route)), [2, 4, 2]);
    });
}

/// Another address of the client.
fn with_host(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 1, host].into(),
        Family::V6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)].into(),
    }
}
