//! Routes of UDP: those that change while datagrams flow, those beside TCP's, and those that are refused.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use crate::{
    datagrams::real_receivers,
    support::{
        World, at_each_hook,
        datagrams::{Client, Datagrams, Receiver},
        in_world,
        world::{FAMILIES, PORT, PROXY_PORT},
    },
};

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
