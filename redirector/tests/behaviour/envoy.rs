//! A real Envoy as the proxy: transparent, with `original_dst`, connecting on to the original destination.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use nix::sys::signal::Signal;

use crate::{
    support::{
        Connection, DEADLINE, Envoy, Listener, Server, World, ask, at_each_hook,
        client::{Answer, connect},
        datagrams::{Client, Receiver, assert_datagram_refused},
        envoy::{self, Configuration, is_here},
        in_world,
        turnover::{turn_over, turn_over_for},
        world::{FAMILIES, Family, PORT, PROXY_PORT},
    },
    turnover::{count, report, reuse_ports},
};

#[test]
fn connections_through_envoy_reach_their_original_destination_and_no_envoy_again() {
    if !is_here() {
        return;
    }
    at_each_hook(|world| {
        let _servers = serve(world, false);
        let envoy = Envoy::start(world);
        // The server's side is captured as well, where the answers to Envoy arrive.
        let agent = world.agent_at("to-*", &["all:1-65535=proxy:15001"]);
        for family in FAMILIES {
            for _ in 0..32 {
                assert_through_envoy_to_both(world, family);
            }
            assert_eq!(envoy.accepted(family), 64, "Envoy took each connection once");
            // The kernel picks by a hash: that one of two gets none of 64 has a chance of 10^-19.
            let workers = envoy.accepted_by_workers(family);
            assert!(workers.iter().all(|count| *count > 0), "each worker gets some: {workers:?}");
            assert_eq!(workers.iter().sum::<u64>(), 64);
        }
        assert_eq!(envoy.opened(), 128, "Envoy opened one connection for each");
        let summary = agent.stop();
        assert_eq!(
            [summary.connections("all"), summary.unavailable("all"), summary.lost("all")],
            [128, 0, 0]
        );
        assert_eq!(summary.packets("steered", "proxy"), 128);
    });
}

#[test]
fn while_envoy_is_gone_connections_pass_and_the_next_syn_reaches_the_next_envoy() {
    if !is_here() {
        return;
    }
    at_each_hook(|world| {
        comes_and_goes(world, "all:8080=proxy:15001", |to, name| world.assert_reaches(to, name));
    });
}

#[test]
fn while_envoy_is_gone_connections_are_dropped_where_the_route_says_so() {
    if !is_here() {
        return;
    }
    at_each_hook(|world| {
        comes_and_goes(world, "all:8080=proxy:15001 else drop", |to, _| world.assert_silent(to));
    });
}

#[test]
fn open_connections_end_when_envoy_is_killed() {
    if !is_here() {
        return;
    }
    at_each_hook(|world| {
        let _servers = serve(world, false);
        let envoy = Envoy::start(world);
        let _agent = world.agent(&["all:8080=proxy:15001"]);
        let streams =
            FAMILIES.into_iter().flat_map(|family| [family.service(), family.node()]).map(|address| {
                let mut stream = connect(&world.client, (address, PORT).into(), DEADLINE).expect("connect");
                stream.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
                stream.read_exact(&mut [0; 8]).expect("the server greets");
                stream
            });
        let streams: Vec<_> = streams.collect();
        envoy.kill();
        for mut stream in streams {
            // The end, or a reset, and not silence.
            if let Err(error) = stream.read_to_end(&mut Vec::new()) {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
            }
        }
    });
}

#[test]
fn connections_that_servers_close_never_fail_through_envoy() {
    if !is_here() {
        return;
    }
    in_world(|world| {
        reuse_ports(world);
        let _servers = serve(world, true);
        let envoy = Envoy::start(world);
        for family in FAMILIES {
            let direct = turn_over(&world.client, (family.service(), PORT).into(), "server", count());
            report(&format!("{family:?}, direct, foreign destination"), &direct);
            let direct = turn_over(&world.client, (family.node(), PORT).into(), "local", count());
            report(&format!("{family:?}, direct, local destination"), &direct);
        }
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for (kind, name, address) in
                [("foreign", "server", family.service()), ("local", "local", family.node())]
            {
                let turnover = turn_over_for(&world.client, (address, PORT).into(), count(), |answer| {
                    answer.name == name && came_from_the_node(family, answer)
                });
                report(&format!("{family:?}, through Envoy, {kind} destination"), &turnover);
            }
            assert_eq!(envoy.accepted(family), u64::from(2 * count()), "none was tried twice");
        }
        let summary = agent.stop();
        assert_eq!(
            [summary.connections("all"), summary.unavailable("all"), summary.lost("all")],
            [u64::from(4 * count()), 0, 0]
        );
    });
}

#[test]
fn envoy_that_closed_its_listeners_keeps_what_is_open_and_gets_nothing_new() {
    if !is_here() {
        return;
    }
    at_each_hook(|world| {
        let _servers = serve(world, false);
        let envoy = Envoy::start(world);
        let _agent = world.agent(&["all:8080=proxy:15001"]);
        let open = FAMILIES.map(|family| Connection::open(&world.client, (family.service(), PORT).into()));
        let open = open.map(|connection| connection.expect("Envoy answers"));
        envoy.drain();
        for mut connection in open {
            connection.assert_echoes();
        }
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "server");
            world.assert_reaches((family.node(), PORT), "local");
        }
    });
}

#[test]
fn a_hot_restart_fails_no_connection_and_the_new_envoy_takes_the_next_ones() {
    if !is_here() {
        return;
    }
    in_world(|world| {
        let _servers = serve(world, false);
        let mut old = Envoy::start_hot(world);
        let agent = world.agent(&["all:8080=proxy:15001 else drop"]);
        let mut open = FAMILIES.map(|family| {
            Connection::open(&world.client, (family.service(), PORT).into()).expect("Envoy answers")
        });
        let done = AtomicBool::new(false);
        let new = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (mut count, begin) = (0, Instant::now());
                // The time is for the case that what is waited for below does not happen.
                while !done.load(Ordering::Relaxed) && begin.elapsed() < 3 * DEADLINE {
                    FAMILIES.into_iter().for_each(|family| assert_through_envoy_to_both(world, family));
                    count += 4;
                }
                count
            });
            let new = old.follow_hot();
            open.iter_mut().for_each(Connection::assert_echoes);
            old.wait();
            done.store(true, Ordering::Relaxed);
            assert!(asking.join().expect("every connection was answered") > 0);
            new
        });
        let before = FAMILIES.map(|family| new.accepted(family));
        FAMILIES.into_iter().for_each(|family| assert_through_envoy_to_both(world, family));
        let after = FAMILIES.map(|family| new.accepted(family));
        assert_eq!(after, before.map(|count| count + 2));
        let summary = agent.stop();
        assert_eq!([summary.unavailable("all"), summary.lost("all")], [0, 0]);
    });
}

#[test]
fn filter_chains_are_chosen_by_the_original_destination() {
    if !is_here() {
        return;
    }
    in_world(|world| {
        world.server.ip("address add 192.0.2.1/32 dev lo\naddress add 2001:db8:2::1/128 dev lo nodad");
        let envoy = Envoy::start_with(world, Configuration::Http);
        let _servers = FAMILIES
            .map(|family| Listener::ordinary((family.service(), 9090)).serve(&world.server, "server"));
        let agent = world.agent(&["all:8080,9090=proxy:15001"]);
        for family in FAMILIES {
            // Nobody listens at the destination: it is Envoy that answers, and by HTTP.
            let mut stream =
                connect(&world.client, (family.service(), PORT).into(), DEADLINE).expect("connect");
            stream.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
                .expect("ask Envoy");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("Envoy answers");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            let answer = ask(&world.client, (family.service(), 9090).into()).expect("the server answers");
            assert_eq!(answer.name, "server");
            assert!(came_from_the_node(family, &answer));
        }
        assert_eq!(["http.http", "tcp.tcp"].map(|chain| envoy.taken_by(chain)), [2, 2]);
        assert_eq!(agent.stop().connections("all"), 4);
    });
}

/// Envoy is killed and started again, while the agent runs and while it is stopped.
fn comes_and_goes(world: &World, route: &str, assert_without: impl Fn((IpAddr, u16), &str)) {
    let _servers = serve(world, false);
    let mut envoy = Envoy::start(world);
    let agent = world.agent(&[route]);
    let with = || FAMILIES.into_iter().for_each(|family| assert_through_envoy_to_both(world, family));
    let without = || {
        for family in FAMILIES {
            assert_without((family.service(), PORT), "server");
            assert_without((family.node(), PORT), "local");
        }
    };
    with();
    for stopped in [false, true] {
        if stopped {
            agent.signal(Signal::SIGSTOP);
        }
        envoy.kill();
        without();
        envoy = Envoy::start(world);
        with();
        assert_eq!(FAMILIES.map(|family| envoy.accepted(family)), [2, 2]);
        agent.signal(Signal::SIGCONT);
    }
    let summary = agent.stop();
    assert_eq!([summary.connections("all"), summary.unavailable("all"), summary.lost("all")], [12, 8, 0]);
}

/// Asserts that a connection to another host and one to the node itself each reach who is there, through Envoy.
#[track_caller]
fn assert_through_envoy_to_both(world: &World, family: Family) {
    for (name, address) in [("server", family.service()), ("local", family.node())] {
        let to = (address, PORT).into();
        let answer = ask(&world.client, to).unwrap_or_else(|error| panic!("{to} is not answered: {error}"));
        assert_eq!(answer.name, name, "who answers at {to}");
        assert_eq!(answer.destination, to, "the original destination, as Envoy saw it");
        assert!(came_from_the_node(family, &answer), "{name} was reached from {}", answer.peer);
    }
}

/// Whether the server saw the node, which Envoy is on, and not the client.
fn came_from_the_node(family: Family, answer: &Answer) -> bool {
    let node = if answer.name == "local" { family.node() } else { family.node_to_server() };
    answer.peer.ip() == node && answer.peer != answer.client
}

/// Starts `server`, on another host that has the service's addresses, and `local`, on the node itself.
fn serve(world: &World, closing: bool) -> Vec<Server> {
    world.server.ip("address add 192.0.2.1/32 dev lo\naddress add 2001:db8:2::1/128 dev lo nodad");
    let listener = |address| {
        let listener = Listener::ordinary((address, PORT));
        if closing { listener.closing() } else { listener }
    };
    let servers = FAMILIES.into_iter().flat_map(|family| {
        [
            listener(family.service()).serve(&world.server, "server"),
            listener(family.node()).serve(&world.node, "local"),
        ]
    });
    servers.collect()
}

#[test]
fn datagrams_reach_envoy_which_answers_from_the_original_address_and_needs_a_rule_for_the_port() {
    if !is_here() {
        return;
    }
    at_each_hook(|world| {
        let resolver = Receiver::ordinary((Family::V4.server(), 53)).serve(&world.server, "resolver");
        let envoy = Envoy::start_with(world, Configuration::Udp);
        // The server's side is captured as well, where the answers to Envoy arrive.
        let agent = world.agent_at("to-*", &["dns:udp/8080=proxy:15001 else reset"]);
        let destinations = FAMILIES.into_iter().flat_map(|family| [family.service(), family.node()]);
        let destinations: Vec<_> = destinations.map(|address| SocketAddr::new(address, PORT)).collect();
        for to in &destinations {
            let from = answered_from(world, *to).expect("Envoy answers");
            assert_eq!(
                from,
                SocketAddr::new(to.ip(), PROXY_PORT),
                "the address is right, and the port Envoy's own"
            );
        }
        envoy::rules().for_each(|rule| drop(world.node.output(&rule)));
        for to in &destinations {
            assert_eq!(answered_from(world, *to).expect("Envoy answers"), *to);
        }
        assert_eq!(envoy.sessions(), 8, "each client has a session");
        assert_eq!(resolver.received(), 8, "each datagram went on once");
        envoy.kill();
        for to in &destinations {
            assert_datagram_refused(&Client::new(&world.client, *to));
        }
        let _envoy = Envoy::start_with(world, Configuration::Udp);
        for to in &destinations {
            assert_eq!(answered_from(world, *to).expect("the next Envoy answers"), *to);
        }
        let summary = agent.stop();
        assert_eq!([summary.connections("dns"), summary.unavailable("dns"), summary.lost("dns")], [12, 4, 0]);
    });
}

/// Asks the resolver behind Envoy by a socket that takes answers from everybody, and says who it was.
fn answered_from(world: &World, to: SocketAddr) -> io::Result<SocketAddr> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = world.client.run(|| UdpSocket::bind(any))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.send_to(b"a question", to)?;
    let mut bytes = [0; 512];
    let (length, from) = socket.recv_from(&mut bytes)?;
    assert!(bytes[..length].starts_with(b"resolver 10.0.3.2:53 10.0.3.1:"), "who answers");
    Ok(from)
}
