//! Tagged frames, and VLAN interfaces where the kernel has them.

use crate::support::{
    Connection, Hook, Netns, World, at_each_hook,
    frames::{ETH_P_LOCAL, Wire, ethernet, flag, tcp, udp},
    kernel::has_device,
    tags::{ETH_P_8021AD, ETH_P_8021Q, Received, tagged},
    tap::{Place, Tap},
    world::{FAMILIES, HOST_MAC, NODE_MAC, PORT},
};

#[test]
fn tagged_frames_pass_unchanged_whatever_their_tags() {
    at_each_hook(|world| {
        let (proxy, _datagrams) = (world.proxy(), world.datagram_proxy());
        let agent = world.agent(&["all:8080=proxy:15001 else drop", "dns:udp/8080=proxy:15001 else drop"]);
        // Behind the agent's program.
        let place = if world.hook == Hook::Tcx { Place::TcxLast } else { Place::Clsact(u16::MAX) };
        let tap = Tap::attach(world, place);
        let at_node = Wire::open(&world.node, "to-client");
        for wire in [&tap.wire, &at_node] {
            wire.tell_tags();
        }
        let frames = tagged_frames();
        let wire = Wire::open(&world.client, "to-node");
        for frame in &frames {
            wire.send(frame);
        }
        wire.send(&ethernet(ETH_P_LOCAL, b"end"));
        assert!(
            frames_of(&received_until_end(&tap.wire)) == frames,
            "behind the agent they are as they were sent"
        );
        // What the node's hook gets: the first tag beside the frame, and only a second one in its headers.
        let received = received_until_end(&at_node);
        assert!(frames_of(&received) == frames, "and so they are where the node receives them");
        assert!(
            received.iter().all(|received| received.data.len() + 4 == received.frame.len()),
            "the kernel takes the first tag out of each (skb_vlan_untag in __netif_receive_skb_core)"
        );
        let still_tagged = received.iter().filter(|received| received.data[12..14] == [0x81, 0]);
        assert_eq!(still_tagged.count(), 16, "those with two");

        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [0, 0]);
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.connections("dns")], [0, 0]);
        assert_eq!([summary.unavailable("all"), summary.unavailable("dns")], [0, 0]);
        assert_eq!(summary.packets("passed", "vlan"), frames.len() as u64);
        assert_eq!(summary.packets("passed", "not-ip"), 1, "the end");
        assert!(summary.reasons().iter().all(|reason| reason.starts_with("passed")), "{summary:?}");
    });
}

/// What would be steered without the tags: 32, of which 16 have two.
fn tagged_frames() -> Vec<Vec<u8>> {
    let all_tags: [&[(u16, u16)]; 4] = [
        &[(ETH_P_8021Q, 10)],
        &[(ETH_P_8021AD, 20)],
        &[(ETH_P_8021AD, 20), (ETH_P_8021Q, 10)],
        &[(ETH_P_8021Q, 10), (ETH_P_8021Q, 11)],
    ];
    let mut frames = Vec::new();
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            let (from, to) = ((family.client(), 41000).into(), (address, PORT).into());
            for plain in [tcp(from, to, flag::SYN), udp(from, to, b"datagram")] {
                frames.extend(all_tags.map(|tags| tagged(&plain, tags)));
            }
        }
    }
    frames
}

fn received_until_end(wire: &Wire) -> Vec<Received> {
    let end = ethernet(ETH_P_LOCAL, b"end");
    let from_client = std::iter::from_fn(|| Some(wire.receive_with_tag()));
    let from_client = from_client.filter(|received| received.frame.starts_with(&end[..12]));
    from_client.take_while(|received| !received.frame.starts_with(&end)).collect()
}

fn frames_of(received: &[Received]) -> Vec<Vec<u8>> {
    received.iter().map(|received| received.frame.clone()).collect()
}

#[test]
fn a_tag_that_names_no_vlan_changes_nothing() {
    const PRIORITY: (u16, u16) = (ETH_P_8021Q, 5 << 13);
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001 else drop"]);
        let wire = Wire::open(&world.client, "to-node");
        let answers = Wire::open(&world.client, "to-node");
        for family in FAMILIES {
            for (port, address) in [(41000, family.service()), (41001, family.node())] {
                let (from, to) = ((family.client(), port).into(), (address, PORT).into());
                wire.send(&tagged(&tcp(from, to, flag::SYN), &[PRIORITY]));
                answers.segment(|tcp| tcp.syn && tcp.ack && tcp.destination_port == port);
            }
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
        assert_eq!(summary.packets("steered", "proxy"), 4);
        assert_eq!(summary.packets("passed", "vlan"), 0);
    });
}

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
