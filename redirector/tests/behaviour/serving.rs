//! Who serves metrics and health, to whom, and that nobody who asks for them disturbs anything.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
};

use nix::{
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::support::{
    Agent, DEADLINE, QUIET, World,
    agent::{BINARY, run_arguments},
    client::connect,
    command::Outcome,
    http, in_world,
    openmetrics::{METRICS, Page},
    snapshot::{Snapshot, until},
    world::{FAMILIES, PORT},
};

const ROUTES: &[&str] = &["web:8080=proxy:15001", "away:8085=interface:to-server"];

#[test]
fn clients_that_stall_hold_up_neither_traffic_nor_the_agent_nor_others_for_long() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_at("to-*", ROUTES);
        // More than are served at once: silent ones, and some that end in the middle of a line.
        let mut stalled: Vec<_> = (0..80).map(|_| open(world)).collect();
        for stream in stalled.iter_mut().step_by(2) {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-").expect("write to the agent");
        }
        for family in FAMILIES {
            for _ in 0..20 {
                world.assert_reaches((family.service(), PORT), "proxy");
            }
        }
        world.node.ip("link delete to-server");
        agent.wait_for_nth(1, "gone", |line| line.ends_with(": gone"));
        // They were all there all the time; each is closed when its time is over.
        assert_eq!(get(world, "/livez").status, 200);
        world.metrics();
        drop(stalled);
    });
}

#[test]
fn a_loop_that_is_stuck_is_not_alive_and_traffic_is_steered_all_the_same() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(ROUTES);
        assert_eq!(get(world, "/livez").status, 200);
        // Only the thread of the loop stops.
        let pid = Pid::from_raw(i32::try_from(agent.pid()).expect("a process id is an i32"));
        ptrace::seize(pid, ptrace::Options::empty()).expect("trace the agent's loop");
        ptrace::interrupt(pid).expect("stop the agent's loop");
        let stuck =
            until("the loop is missed", || Some(get(world, "/livez")).filter(|said| said.status == 503));
        assert!(stuck.body.starts_with("the agent's loop has not come round"), "{stuck:?}");
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        let page = world.metrics();
        assert_eq!(page.value("redirector_connections_total{route=\"web\",verdict=\"steered\"}"), 2.0);
        waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it has stopped");
        ptrace::detach(pid, None).expect("let the agent's loop go on");
        until("the loop comes round again", || Some(()).filter(|()| get(world, "/livez").status == 200));
    });
}

#[test]
fn an_agent_is_ready_as_soon_as_it_says_so_even_where_no_interface_has_come_yet() {
    in_world(|world| {
        let agent = world.agent_at("later*", ROUTES);
        let ready = get(world, "/readyz");
        assert_eq!((ready.status, &*ready.body), (200, "ok\n"));
        assert_eq!(world.metrics().value("redirector_interfaces{state=\"captured\"}"), 0.0);
        agent.stop();
        assert!(connect(&world.node, METRICS.into(), QUIET).is_err(), "nobody serves");
    });
}

#[test]
fn only_what_is_there_is_answered_and_only_to_those_who_read() {
    in_world(|world| {
        let _agent = world.agent(ROUTES);
        for path in ["/metrics", "/livez", "/readyz"] {
            let (got, head) = (get(world, path), request(world, "HEAD", path));
            assert_eq!((got.status, head.status, &*head.body), (200, 200, ""));
            assert!(
                got.headers.contains_key("content-length") && head.headers.contains_key("content-length")
            );
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                let refused = request(world, method, path);
                assert_eq!(refused.status, 405, "{method} {path}");
                assert_eq!(refused.headers.get("allow").map(String::as_str), Some("GET, HEAD"));
            }
        }
        assert_eq!(get(world, "/metrics?name=a").status, 200);
        for path in ["/", "/metrics/", "/healthz", "/../metrics"] {
            assert_eq!(get(world, path).status, 404, "{path}");
        }
        let send = |bytes: &[u8]| http::exchange(&world.node, METRICS.into(), bytes).map(|said| said.status);
        let head = |rest: &str| format!("GET /livez HTTP/1.1\r\nHost: a\r\n{rest}\r\n\r\n");
        assert_eq!(send(head("X: y").as_bytes()).expect("it answers"), 200);
        assert_eq!(send(head(&format!("X: {}", "y".repeat(20_000))).as_bytes()).expect("it answers"), 431);
        assert_eq!(send(head(&["X: y"; 100].join("\r\n")).as_bytes()).expect("it answers"), 431);
        assert_eq!(send(b"\x16\x03\x01\x02\x00\x01\r\n\r\n").expect("it answers"), 400);
        world.metrics();
    });
}

#[test]
fn to_serve_takes_no_capability_that_the_agent_does_not_need_anyway() {
    in_world(|world| {
        let _proxy = world.proxy();
        let mut command = world.node.command("setpriv");
        command.args(["--bounding-set=-all,+bpf,+net_admin,+perfmon", "--inh-caps=-all", "--", BINARY]);
        command.args(run_arguments(world.hook, "to-client", ROUTES));
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        let page = world.metrics();
        assert_eq!(
            page.value("redirector_proxy_listening{address=\"127.0.0.1:15001\",protocol=\"tcp\"}"),
            1.0
        );
        assert_eq!(page.value("redirector_route_target_available{route=\"away\"}"), 1.0);
    });
}

#[test]
fn a_port_that_is_taken_ends_the_agent_before_it_attaches_anything() {
    in_world(|world| {
        let before = Snapshot::take(&world.node);
        let _taken = world.node.run(|| TcpListener::bind(SocketAddr::from(METRICS))).expect("take the port");
        let run = |more: &[&str]| {
            let mut command = world.node.command(BINARY);
            command.args(run_arguments(world.hook, "to-client", ROUTES)).args(more);
            command
        };
        let outcome = Outcome::of(run(&[]));
        outcome.assert_code(1);
        assert!(
            outcome.stderr.contains("serve metrics at 127.0.0.1:9464: Address already in use"),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains("hint: set `metrics.listen` (--metrics-listen)"), "{outcome:?}");
        assert_eq!(Snapshot::take(&world.node), before);
        let outcome = Outcome::of(run(&["--metrics-listen", "0.0.0.0:9464"]));
        outcome.assert_code(2);
        assert!(outcome.stderr.contains("not of the loopback device"), "{outcome:?}");

        let agent = Agent::spawn(run(&["--metrics-listen", "off"]));
        agent.wait_until_ready();
        agent.stop();
        for address in ["127.0.0.1:9500", "[::1]:9464"] {
            let agent = Agent::spawn(run(&["--metrics-listen", address]));
            agent.wait_until_ready();
            Page::scrape(&world.node, address.parse().expect("an address"));
            agent.stop_by(Signal::SIGINT);
        }
    });
}

fn open(world: &World) -> TcpStream {
    connect(&world.node, METRICS.into(), DEADLINE).expect("connect to the agent")
}

fn get(world: &World, path: &str) -> http::Response {
    request(world, "GET", path)
}

fn request(world: &World, method: &str, path: &str) -> http::Response {
    http::request(&world.node, METRICS.into(), method, path).expect("the agent answers")
}
