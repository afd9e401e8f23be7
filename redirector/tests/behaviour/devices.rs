//! Interfaces of kinds that not every kernel has: tunnels, bonds, and what stands on other interfaces.

use crate::support::{
    Connection, Netns, World, at_each_hook, in_world,
    kernel::has_device,
    link::{self, LINK},
    world::{FAMILIES, Family, HOST_MAC, NODE_MAC, PORT},
};

#[test]
fn connections_by_wireguard_reach_the_proxy() {
    if has_device("wireguard") {
        at_each_hook(|world| assert_steered_at(world, LINK, &link::wireguard(world), &FAMILIES));
    }
}

#[test]
fn connections_by_a_tunnel_of_ipv4_in_ipv4_reach_the_proxy() {
    if has_device("ipip") {
        at_each_hook(|world| {
            let client = link::tunnel(world, "ipip", Family::V4);
            assert_steered_at(world, LINK, &client, &[Family::V4]);
        });
    }
}

#[test]
fn connections_by_a_tunnel_of_ipv6_in_ipv4_reach_the_proxy() {
    if has_device("sit") {
        at_each_hook(|world| {
            let client = link::tunnel(world, "sit", Family::V4);
            assert_steered_at(world, LINK, &client, &[Family::V6]);
        });
    }
}

#[test]
fn connections_by_a_tunnel_of_ip_in_ipv6_reach_the_proxy() {
    if has_device("ip6tnl") {
        at_each_hook(|world| {
            let client = link::tunnel(world, "ip6tnl mode any", Family::V6);
            assert_steered_at(world, LINK, &client, &FAMILIES);
        });
    }
}

#[test]
fn connections_by_gre_in_ipv4_reach_the_proxy() {
    if has_device("gre") {
        at_each_hook(|world| {
            let client = link::tunnel(world, "gre", Family::V4);
            assert_steered_at(world, LINK, &client, &FAMILIES);
        });
    }
}

#[test]
fn connections_by_gre_in_ipv6_reach_the_proxy() {
    if has_device("ip6gre") {
        at_each_hook(|world| {
            let client = link::tunnel(world, "ip6gre", Family::V6);
            assert_steered_at(world, LINK, &client, &FAMILIES);
        });
    }
}

#[test]
fn connections_by_netkit_reach_the_proxy() {
    if has_device("netkit") {
        at_each_hook(|world| assert_steered_at(world, LINK, &link::netkit(world), &FAMILIES));
    }
}

#[test]
fn connections_by_a_bond_reach_the_proxy_and_are_counted_once_where_its_port_is_captured_too() {
    if !has_device("bond") {
        return;
    }
    for captured in ["bond0", "to-client", "[bt]o*"] {
        at_each_hook(|world| {
            world.node.ip(&format!(
                "link add bond0 address {NODE_MAC} type bond mode active-backup
                 link set bond0 addrgenmode none
                 link set to-client down
                 link set to-client master bond0"
            ));
            own(world, "bond0");
            assert_steered_at(world, captured, &world.client, &FAMILIES);
        });
    }
}

#[test]
fn connections_by_a_macvlan_reach_the_proxy_and_pass_where_only_its_parent_is_captured() {
    if !has_device("macvlan") {
        return;
    }
    at_each_hook(|world| {
        let client = macvlan(world);
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches_from(&client, (family.server(), PORT), "server");
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (2, 0));
        assert!(summary.packets("passed", "other-host") > 0, "the parent sees what is for another");
    });
    at_each_hook(|world| {
        let client = macvlan(world);
        assert_steered_at(world, LINK, &client, &FAMILIES);
    });
}

#[test]
fn a_vrf_and_its_ports_are_refused() {
    if !has_device("vrf") {
        return;
    }
    in_world(|world| {
        world.node.ip("link add red type vrf table 10\nlink set to-client master red");
        for name in ["red", "to-client"] {
            world.redirector(&format!("check --interface {name}")).assert_code(5).assert_says(&[
                "FAIL",
                "interface-unsupported",
                &format!("{name}: it belongs to a VRF"),
            ]);
        }
    });
}

/// Captures what matches, and shows that each connection of the client reaches the proxy and is counted once.
#[track_caller]
fn assert_steered_at(world: &World, captured: &str, client: &Netns, families: &[Family]) {
    println!("captured: {captured}");
    let _proxy = world.proxy();
    let agent = world.agent_at(captured, &["all:8080=proxy:15001"]);
    for family in families {
        for address in [family.service(), family.node()] {
            world.assert_reaches_from(client, (address, PORT), "proxy");
            let mut connection = Connection::open(client, (address, PORT).into()).expect("the proxy answers");
            connection.assert_echoes_much(1 << 20);
        }
    }
    let summary = agent.stop();
    assert_eq!((summary.connections("all"), summary.lost("all")), (4 * families.len() as u64, 0));
}

/// Moves the node's addresses on the client's side to another interface, and brings both up.
fn own(world: &World, name: &str) {
    world.node.ip(&format!(
        "address flush dev to-client
         address add 10.0.1.1/24 dev {name}
         address add 2001:db8:1::1/64 dev {name} nodad
         link set to-client up
         link set {name} up
         neighbour replace 10.0.1.2 lladdr {HOST_MAC} dev {name} nud permanent
         neighbour replace 2001:db8:1::2 lladdr {HOST_MAC} dev {name} nud permanent"
    ));
}

/// A client that reaches the node by a macvlan interface on the client's link, which has an address of its own.
fn macvlan(world: &World) -> Netns {
    const MAC: &str = "02:00:00:00:07:01";
    let client = Netns::new("macvlan's client");
    world.client.ip(&format!(
        "link add link to-node name {LINK} address 02:00:00:00:07:02 type macvlan mode bridge
         link set {LINK} netns {}",
        client.path()
    ));
    world.node.ip(&format!("link add link to-client name {LINK} address {MAC} type macvlan mode bridge"));
    for (netns, host) in [(&world.node, 1), (&client, 2)] {
        netns.ip(&format!(
            "link set {LINK} addrgenmode none
             address add 10.0.7.{host}/24 dev {LINK}
             address add 2001:db8:7::{host}/64 dev {LINK} nodad
             link set {LINK} up
             neighbour add 10.0.7.{other} lladdr 02:00:00:00:07:0{other} dev {LINK} nud permanent
             neighbour add 2001:db8:7::{other} lladdr 02:00:00:00:07:0{other} dev {LINK} nud permanent",
            other = 3 - host
        ));
    }
    client.ip("route add default via 10.0.7.1\nroute add default via 2001:db8:7::1");
    client
}
