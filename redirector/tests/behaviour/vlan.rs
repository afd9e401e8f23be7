//! VLAN interfaces, where the kernel has them.

use crate::support::{
    Connection, Netns, World, at_each_hook,
    kernel::has_device,
    world::{FAMILIES, HOST_MAC, NODE_MAC, PORT},
};

#[test]
fn connections_by_a_vlan_interface_reach_the_proxy() {
    if !has_device("vlan") {
        return;
    }
    at_each_hook(|world| {
        let client = vlan(world, "vlan10", 10);
        let _proxy = world.proxy();
        let agent = world.agent_at("vlan10", &["all:8080=proxy:15001"]);
        assert_all_reach_the_proxy(world, &client);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (8, 0));
        assert!(summary.packets("steered", "established") > 0, "each packet to a foreign address is seen");
    });
}

#[test]
fn tagged_connections_pass_where_the_parent_is_captured() {
    if !has_device("vlan") {
        return;
    }
    at_each_hook(|world| {
        let client = vlan(world, "vlan10", 10);
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches_from(&client, (family.server(), PORT), "server");
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (2, 0));
        assert!(summary.packets("passed", "vlan") > 0, "the parent sees what is tagged");
    });
}

#[test]
fn where_a_vlan_interface_and_its_parent_are_captured_each_connection_is_counted_once() {
    if !has_device("vlan") {
        return;
    }
    at_each_hook(|world| {
        let client = vlan(world, "to-client.10", 10);
        let other = vlan(world, "other", 20);
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let agent = world.agent_at("to-client*", &["all:8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
            world.assert_reaches_from(&client, (family.server(), PORT), "proxy");
            // A VLAN whose interface is not captured.
            world.assert_reaches_from(&other, (family.server(), PORT), "server");
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
        assert!(summary.packets("passed", "vlan") > 0, "the parent sees what is tagged");
    });
}

/// A client that reaches the node in a VLAN of the client's link, by an interface that has this name at the node.
fn vlan(world: &World, name: &str, id: u8) -> Netns {
    let client = Netns::new("client in a VLAN");
    world.client.ip(&format!(
        "link add link to-node name vlan{id} type vlan id {id}
         link set vlan{id} netns {}",
        client.path()
    ));
    world.node.ip(&format!(
        "link add link to-client name {name} type vlan id {id}
         link set {name} addrgenmode none
         address add 10.0.{id}.1/24 dev {name}
         address add 2001:db8:{id}::1/64 dev {name} nodad
         link set {name} up
         neighbour add 10.0.{id}.2 lladdr {HOST_MAC} dev {name} nud permanent
         neighbour add 2001:db8:{id}::2 lladdr {HOST_MAC} dev {name} nud permanent"
    ));
    client.ip(&format!(
        "link set vlan{id} addrgenmode none
         address add 10.0.{id}.2/24 dev vlan{id}
         address add 2001:db8:{id}::2/64 dev vlan{id} nodad
         link set vlan{id} up
         neighbour add 10.0.{id}.1 lladdr {NODE_MAC} dev vlan{id} nud permanent
         neighbour add 2001:db8:{id}::1 lladdr {NODE_MAC} dev vlan{id} nud permanent
         route add default via 10.0.{id}.1
         route add default via 2001:db8:{id}::1"
    ));
    client
}

/// Connections to foreign and to local addresses, each of which carries more than one packet: eight, of which four
/// are to the service.
fn assert_all_reach_the_proxy(world: &World, client: &Netns) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            world.assert_reaches_from(client, (address, PORT), "proxy");
            let mut connection = Connection::open(client, (address, PORT).into()).expect("the proxy answers");
            connection.assert_echoes_much(1 << 20);
        }
    }
}
