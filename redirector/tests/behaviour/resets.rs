//! `else reset`: a connection that its target cannot take is refused at once, whatever its destination.

use std::{io::ErrorKind, time::Instant};

use crate::support::{
    Listener, QUIET, at_each_hook,
    client::connect,
    in_world,
    world::{FAMILIES, PORT, PROXY_PORT},
};

#[test]
fn a_connection_that_nobody_takes_is_refused_at_once() {
    at_each_hook(|world| {
        let agent = world.agent(&["all:8080=proxy:15001 else reset"]);
        for family in FAMILIES {
            // Foreign, the host's own, and another host that exists.
            for address in [family.service(), family.node(), family.server()] {
                world.assert_refused((address, PORT));
            }
        }
        // The next one is the proxy's as soon as it listens.
        let _proxy = world.proxy();
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.unavailable("all")), (2, 6));
        assert_eq!(summary.packets("reset", "no-listener"), 6);
    });
}

#[test]
fn a_listener_that_cannot_answer_for_others_refuses_their_connections() {
    in_world(|world| {
        let _plain =
            FAMILIES.map(|family| world.serve_proxy(Listener::ordinary((family.loopback(), PROXY_PORT))));
        let agent = world.agent(&["all:8080=proxy:15001 else reset"]);
        for family in FAMILIES {
            world.assert_refused((family.service(), PORT));
            world.assert_reaches((family.node(), PORT), "proxy");
        }
        assert_eq!(agent.stop().packets("reset", "not-transparent"), 2);
    });
}

#[test]
fn the_client_takes_the_answer_whoever_computes_its_checksum() {
    in_world(|world| {
        let _agent = world.agent(&["all:8080=proxy:15001 else reset"]);
        for offload in ["on", "off"] {
            for (netns, device) in [(&world.client, "to-node"), (&world.node, "to-client")] {
                netns.output(&format!("ethtool -K {device} tx {offload} rx {offload}"));
            }
            for family in FAMILIES {
                let begin = Instant::now();
                let error = connect(&world.client, (family.service(), PORT).into(), QUIET)
                    .expect_err("nobody listens");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{family:?}, checksums {offload}");
                assert!(begin.elapsed() < QUIET, "{family:?}: {:?}", begin.elapsed());
            }
        }
    });
}
