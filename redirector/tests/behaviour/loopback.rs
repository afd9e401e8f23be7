//! Addresses that no packet on the wire may have, and those that mean everybody or nobody: never redirected.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
};

use crate::support::{
    Server, at_each_hook,
    frames::{self, ETH_P_LOCAL, Wire, flag},
    tap::{Place, Tap},
    world::{FAMILIES, Family, PORT},
};

#[test]
fn packets_to_or_from_loopback_and_its_like_are_never_redirected() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        let route_localnet = || {
            let read = |scope| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{scope}/route_localnet"));
            world
                .node
                .run(|| ["all", "default", "lo", "to-client"].map(|scope| read(scope).expect("read it")))
        };
        assert!(route_localnet().iter().all(|value| value == "0\n"));
        let tap = Tap::attach(world, Place::Clsact(u16::MAX));
        let agent = world
            .agent(&["all:1-65535=proxy:15001 else drop", "127.0.0.0/8,[::1]:8080=proxy:15001 else drop"]);
        let wire = Wire::open(&world.client, "to-node");
        let mut sent = 0;
        for family in FAMILIES {
            for address in never_redirected(family) {
                for (from, to) in
                    [(family.client(), address), (address, family.service()), (address, family.node())]
                {
                    for port in [PORT, 15002] {
                        wire.send(&frames::tcp((from, 40000).into(), (to, port).into(), flag::SYN));
                        sent += 1;
                    }
                }
            }
        }
        wire.send(&frames::ethernet(ETH_P_LOCAL, &[0; 46]));
        assert_eq!(tap.wire.receive_until_end().len(), sent, "every packet passes");
        assert!(route_localnet().iter().all(|value| value == "0\n"), "a running agent has not set it either");
        let summary = agent.stop();
        assert_eq!(summary.packets("passed", "special-address"), sent as u64);
        assert_eq!(summary.connections("all"), 0);
        assert_eq!(proxy.each_ref().map(Server::accepted), [0, 0]);
        assert!(
            summary.reasons().iter().all(|reason| reason.starts_with("passed ")),
            "{:?}",
            summary.reasons()
        );
    });
}

fn never_redirected(family: Family) -> Vec<IpAddr> {
    let v4: [[u8; 4]; 8] = [
        [127, 0, 0, 1],
        [127, 255, 255, 254],
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [169, 254, 169, 254],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
    ];
    let v6 = ["::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.3.2", "fe80::1", "ff02::1", "ff05::1:3"];
    match family {
        Family::V4 => v4.into_iter().map(IpAddr::from).collect(),
        Family::V6 => v6.iter().map(|text| text.parse::<Ipv6Addr>().expect("an address").into()).collect(),
    }
}
