//! Metrics: what traffic moves in them.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use redirector_common::{Reason, Verdict};

use crate::support::{
    Agent,
    agent::BINARY,
    ask, at_each_hook,
    files::Directory,
    in_world,
    snapshot::until,
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
                let sample =
                    format!("redirector_proxy_listening{{address=\"{address}:15001\",protocol=\"tcp\"}}");
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
        for counted in ["repairs_total{what=\"rules\"}", "reconcile_duration_seconds_count"] {
            until("the repair is counted", || {
                (world.metrics().value(&format!("redirector_{counted}")) > 0.0).then_some(())
            });
        }
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
        // Hosts speak of themselves too, by multicast.
        let others = ["established", "local", "not-new", "other-protocol", "not-ip"];
        if !others.iter().any(|reason| labels.contains(&format!("\"{reason}\""))) {
            shown.insert(format!("{short}{{{labels}"), *change);
        }
    }
    shown
}
