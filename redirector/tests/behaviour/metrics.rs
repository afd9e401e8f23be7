//! Metrics and health: what traffic moves in them, and that nobody who asks for them disturbs it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::{
    sys::{ptrace, signal::Signal},
    unistd::Pid,
};
use redirector_common::{Reason, Verdict};

use crate::support::{
    Agent, World,
    agent::{BINARY, run_arguments},
    ask, at_each_hook,
    client::connect,
    command::Outcome,
    files::Directory,
    http, in_world,
    openmetrics::{METRICS, Page},
    snapshot::{Snapshot, until},
    world::{FAMILIES, Family, PORT},
};

const ROUTES: &[&str] = &[
    "web:8080=proxy:15001",
    "refused:8081=proxy:15002 else reset",
    "lost:8082=proxy:15002 else drop",
    "left:8083=pass",
    "cut:8084=drop",
    "away:8085=interface:to-server",
];

#[test]
fn each_connection_moves_its_samples_and_no_others() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(8085);
        let agent = world.agent(ROUTES);
        for family in FAMILIES {
            let moves = |what: &str, expected: &[(&str, f64)], traffic: &dyn Fn()| {
                let before = world.metrics();
                traffic();
                let moved = new_connections(&world.metrics().since(&before));
                let expected: BTreeMap<_, _> =
                    expected.iter().map(|(name, by)| ((*name).to_owned(), *by)).collect();
                assert_eq!(moved, expected, "{family:?}: {what}");
            };
            moves(
                "steered",
                &[
                    ("connections{route=\"web\",verdict=\"steered\"}", 2.0),
                    ("packets{reason=\"proxy\",verdict=\"steered\"}", 2.0),
                ],
                &|| {
                    world.assert_reaches((family.service(), PORT), "proxy");
                    world.assert_reaches((family.node(), PORT), "proxy");
                },
            );
            moves(
                "reset",
                &[
                    ("connections{route=\"refused\",verdict=\"reset\"}", 1.0),
                    ("packets{reason=\"no-listener\",verdict=\"reset\"}", 1.0),
                ],
                &|| world.assert_refused((family.service(), 8081)),
            );
            moves(
                "dropped for want of a listener",
                &[
                    ("connections{route=\"lost\",verdict=\"dropped\"}", 1.0),
                    ("packets{reason=\"no-listener\",verdict=\"dropped\"}", 1.0),
                ],
                &|| world.assert_silent((family.service(), 8082)),
            );
            moves(
                "passed",
                &[
                    ("connections{route=\"left\",verdict=\"passed\"}", 1.0),
                    ("packets{reason=\"pass-route\",verdict=\"passed\"}", 1.0),
                ],
                &|| world.assert_refused((family.node(), 8083)),
            );
            moves(
                "dropped",
                &[
                    ("connections{route=\"cut\",verdict=\"dropped\"}", 1.0),
                    ("packets{reason=\"drop-route\",verdict=\"dropped\"}", 1.0),
                ],
                &|| world.assert_silent((family.service(), 8084)),
            );
            moves("of no route", &[("packets{reason=\"no-route\",verdict=\"passed\"}", 1.0)], &|| {
                world.assert_refused((family.node(), 9999))
            });
        }
        // Every packet goes there, of which a connection has many.
        let before = world.metrics();
        for family in FAMILIES {
            world.assert_reaches((family.server(), 8085), "server");
        }
        let moved = new_connections(&world.metrics().since(&before));
        assert!(moved["packets{reason=\"interface\",verdict=\"forwarded\"}"] >= 6.0, "{moved:?}");
        assert_eq!(moved["connections{route=\"away\",verdict=\"forwarded\"}"], 2.0, "{moved:?}");
        assert_eq!(moved.len(), 2, "{moved:?}");

        // What is served is what the agent says at its end.
        let last = world.metrics();
        let summary = agent.stop();
        for verdict in Verdict::ALL.iter().map(|verdict| verdict.word()) {
            for reason in Reason::ALL {
                let reason = reason.word();
                let sample = format!("redirector_packets_total{{reason=\"{reason}\",verdict=\"{verdict}\"}}");
                let served = last.samples.get(&sample).copied().unwrap_or_default();
                assert_eq!(served, summary.packets(verdict, reason) as f64, "{sample}");
            }
        }
    });
}

#[test]
fn what_a_firewall_takes_is_counted_as_lost() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _agent = world.agent(ROUTES);
        for (table, lost) in [("ip", 1.0), ("ip6", 2.0)] {
            let family = if table == "ip" { Family::V4 } else { Family::V6 };
            world.assert_reaches((family.service(), PORT), "proxy");
            world.node.output(&format!("nft add table {table} fw"));
            world
                .node
                .output(&format!("nft add chain {table} fw in {{ type filter hook input priority 0 ; }}"));
            world.node.output(&format!("nft add rule {table} fw in tcp dport 8080 drop"));
            world.assert_silent((family.service(), PORT));
            let page = world.metrics();
            assert_eq!(page.value("redirector_steered_lost_total{route=\"web\"}"), lost);
            assert_eq!(page.value("redirector_steered_lost_total{route=\"refused\"}"), 0.0);
        }
    });
}

#[test]
fn targets_that_go_and_come_are_told() {
    in_world(|world| {
        let agent = world.agent(ROUTES);
        let is = |route: &str, listening: [f64; 2]| {
            let page = world.metrics();
            let route = page.value(&format!("redirector_route_target_available{{route=\"{route}\"}}"));
            assert_eq!(route, listening[0].max(listening[1]));
            for (address, value) in ["127.0.0.1", "[::1]"].iter().zip(listening) {
                let sample = format!("redirector_proxy_listening{{address=\"{address}:15001\"}}");
                assert_eq!(page.value(&sample), value, "{sample}");
            }
        };
        is("web", [0.0, 0.0]);
        let [v4, v6] = world.proxy();
        is("web", [1.0, 1.0]);
        drop(v4);
        is("web", [0.0, 1.0]);
        drop(v6);
        is("web", [0.0, 0.0]);

        let away = || world.metrics().value("redirector_route_target_available{route=\"away\"}");
        assert_eq!(away(), 1.0);
        world.node.ip("link set to-server down");
        agent.wait_for("next hop to-server: down");
        assert_eq!(away(), 0.0);
    });
}

#[test]
fn what_the_agent_holds_and_what_it_repairs_is_told() {
    at_each_hook(|world| {
        let agent = world.agent_at("*", ROUTES);
        let hook = world.hook.to_string();
        let page = world.metrics();
        for (sample, value) in [
            ("routes{origin=\"command-line\"}", 6.0),
            ("routes{origin=\"files\"}", 0.0),
            ("routes{origin=\"built-in\"}", 5.0),
            ("routes_left_out", 0.0),
            ("interfaces{state=\"captured\"}", 2.0),
            ("interfaces{state=\"failed\"}", 0.0),
            ("interfaces{state=\"unsupported\"}", 1.0),
            (&*format!("programs_attached{{hook=\"{hook}\"}}"), 2.0),
            ("programs_attached{hook=\"sk_lookup\"}", 1.0),
            ("map_entries{map=\"ROUTES\"}", 11.0),
            ("map_entries{map=\"PROXIES\"}", 2.0),
            ("map_capacity{map=\"ROUTES\"}", 131_072.0),
            ("map_capacity{map=\"PREFIXES\"}", 262_144.0),
            ("repairs_total{what=\"rules\"}", 0.0),
            ("config_last_reload_successful", 1.0),
            ("build_info{version=\"0.1.0\"}", 1.0),
        ] {
            assert_eq!(page.value(&format!("redirector_{sample}")), value, "{sample}");
        }
        assert!(page.value("process_resident_memory_bytes") > 1e6);

        world.node.output("ip rule delete pref 90");
        agent.wait_for("repaired:");
        let page = until("the repair is counted", || {
            let page = world.metrics();
            (page.value("redirector_repairs_total{what=\"rules\"}") > 0.0).then_some(page)
        });
        assert!(page.value("redirector_reconcile_duration_seconds_count") >= 1.0);
        world.node.ip("link delete to-server");
        agent.wait_for_nth(1, "gone", |line| line.ends_with(": gone"));
        until("the interface is gone", || {
            let page = world.metrics();
            (page.value("redirector_interfaces{state=\"captured\"}") == 1.0).then_some(())
        });
    });
}

#[test]
fn every_metric_of_the_page_is_served_and_no_other() {
    in_world(|world| {
        let _agent = world.agent(ROUTES);
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let page = fs::read_to_string(page).expect("read the page");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let rows = rows.filter(|(name, _)| name.starts_with("redirector_") || name.starts_with("process_"));
        let documented: BTreeMap<_, _> = rows
            .map(|(name, rest)| {
                let kind = rest.split(' ').next().expect("a row has a type");
                let name = name.trim_end_matches("_total").trim_end_matches("_info");
                (name.to_owned(), kind.to_owned())
            })
            .collect();
        assert_eq!(world.metrics().families, documented);
    });
}

#[test]
fn counters_never_go_back_while_traffic_runs() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(ROUTES);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for family in FAMILIES {
                let ended = &ended;
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        world.assert_reaches((family.service(), PORT), "proxy");
                    }
                });
            }
            let mut before = world.metrics();
            for _ in 0..50 {
                let page = world.metrics();
                let counts =
                    |name: &str| page.families.get(name.trim_end_matches("_total")).map(String::as_str);
                for (sample, change) in page.since(&before) {
                    let name = sample.split('{').next().unwrap_or_default();
                    assert!(counts(name) != Some("counter") || change > 0.0, "{sample} by {change}");
                }
                before = page;
            }
            ended.store(true, Ordering::Relaxed);
        });
        let page = world.metrics();
        let steered = page.value("redirector_connections_total{route=\"web\",verdict=\"steered\"}");
        let summary = agent.stop();
        assert_eq!((steered, summary.lost("web")), (summary.connections("web") as f64, 0));
        assert!(steered >= 2.0);
    });
}

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
        nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::__WALL)).expect("it has stopped");
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
        assert!(connect(&world.node, METRICS.into(), crate::support::QUIET).is_err(), "nobody serves");
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
        assert_eq!(page.value("redirector_proxy_listening{address=\"127.0.0.1:15001\"}"), 1.0);
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

#[test]
fn of_very_many_routes_those_that_are_used_are_shown() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let route = |number: usize| {
            let (high, low) = (number / 256, number % 256);
            format!(
                "[[route]]\nname = \"r{number}\"\nports = [8080]\ndestinations = [\"192.0.{high}.{low}\", \
                 \"2001:db8:2::{number:x}\"]\ntarget = {{ proxy = 15001 }}\n"
            )
        };
        // 192.0.2.1 and 2001:db8:2::1 are routes number 513 and 1; the last is none of the first thousand.
        let routes: String = (0..1_500).map(route).collect();
        let last = "[[route]]\nname = \"last\"\nports = [8081]\ntarget = { proxy = 15001 }\n";
        let file = directory.write("redirector.toml", &format!("version = 1\n{routes}{last}"));
        let file = file.to_str().expect("a path that is text");
        let mut command = world.node.command(BINARY);
        command.args(["run", "--interface", "to-client", "--config", file]);
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        let sample = "redirector_connections_total{route=\"last\",verdict=\"steered\"}";
        let page = world.metrics();
        assert_eq!(page.samples.get(sample), None);
        // The first thousand are there, of 1,501 and four that are built in.
        assert_eq!(page.value("redirector_routes_left_out"), 505.0);
        assert_eq!(page.value("redirector_map_entries{map=\"ROUTES\"}"), 1505.0);
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8081), "proxy");
            ask(&world.client, (family.service(), PORT).into()).expect("the proxy answers");
        }
        let page = world.metrics();
        assert_eq!(page.value(sample), 2.0);
        assert_eq!(page.value("redirector_routes_left_out"), 504.0);
        assert_eq!(page.value("redirector_connections_total{route=\"r513\",verdict=\"steered\"}"), 1.0);
        assert_eq!(page.value("redirector_connections_total{route=\"r1\",verdict=\"steered\"}"), 1.0);
    });
}

/// What changed of connections, and of packets but for those that a connection has more or less of.
fn new_connections(moved: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let names = [
        ("redirector_packets_total", "packets"),
        ("redirector_connections_total", "connections"),
        ("redirector_steered_lost_total", "lost"),
    ];
    let mut shown = BTreeMap::new();
    for (sample, change) in moved {
        let Some((name, labels)) = sample.split_once('{') else { continue };
        let Some((_, short)) = names.iter().find(|(long, _)| *long == name) else { continue };
        if !["established", "local", "not-new"].iter().any(|reason| labels.contains(&format!("\"{reason}\"")))
        {
            shown.insert(format!("{short}{{{labels}"), *change);
        }
    }
    shown
}

fn open(world: &World) -> std::net::TcpStream {
    connect(&world.node, METRICS.into(), crate::support::DEADLINE).expect("connect to the agent")
}

fn get(world: &World, path: &str) -> http::Response {
    request(world, "GET", path)
}

fn request(world: &World, method: &str, path: &str) -> http::Response {
    http::request(&world.node, METRICS.into(), method, path).expect("the agent answers")
}
