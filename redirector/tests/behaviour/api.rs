//! Routes that change while the agent runs, by its admin API and the commands that use it.

use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use serde_json::Value;

use crate::support::{
    World,
    agent::BINARY,
    at_each_hook,
    command::Outcome,
    files::Directory,
    in_world,
    world::{FAMILIES, PORT},
};

#[test]
fn the_very_next_connection_gets_what_a_change_says() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT);
        let agent = world.agent(&[]);
        for _ in 0..10 {
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), "server");
            }
            let added = world.redirector("route add web:8080=proxy:15001");
            assert_eq!(added.assert_code(0).stdout, "added web\n");
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), "proxy");
                world.assert_reaches((family.service(), PORT), "proxy");
            }
            let removed = world.redirector("route remove web");
            assert_eq!(removed.assert_code(0).stdout, "removed web\n");
        }
        agent.stop();
    });
}

#[test]
fn files_of_routes_create_replace_and_take_away() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real = [world.real_server(PORT), world.real_server(9090)];
        let agent = world.agent(&["keep:7070=proxy:15001"]);
        let directory = Directory::new();
        let toml = directory.write(
            "a.toml",
            "version = 1\n[[route]]\nname = 'web'\nports = [8080]\ntarget = { proxy = 15001 }\n[[route]]\nname = 'other'\nports = [9090]\ntarget = { proxy = 15001 }\n",
        );
        let apply = |more: &str| world.redirector(&format!("route apply -f {} {more}", toml.display()));
        assert_eq!(apply("--dry-run").assert_code(0).stdout, "would add web\nwould add other\n");
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "server");
        }
        apply("").assert_code(0).assert_says(&["added web"]).assert_says(&["added other"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
            world.assert_reaches((family.server(), 9090), "proxy");
        }
        let again = apply("");
        assert_eq!(
            (again.assert_code(0).stdout.as_str(), again.stderr.as_str()),
            ("", "nothing to change\n")
        );
        let json = r#"{"version":1,"routes":[{"name":"web","ports":[8080],"destinations":["203.0.113.0/24"],"target":"drop"}]}"#;
        let json = directory.write("b.json", json);
        let replaced = world.redirector(&format!("route apply --replace -f {}", json.display()));
        replaced.assert_code(0).assert_says(&["replaced web"]).assert_says(&["removed other"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "server");
            world.assert_reaches((family.server(), 9090), "server");
            world.assert_reaches((family.service(), 7070), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn lists_show_every_route_and_where_it_is_overridden() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["web:8080=proxy:15001", "down:10.0.0.0/8:9090=proxy:15002 else reset"]);
        world.redirector("route add web:8080-8081=proxy:15001 hole:10.96.0.0/12:9090=pass").assert_code(0);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        let list = world.redirector("route list");
        list.assert_code(0)
            .assert_says(&[
                "NAME",
                "ORIGIN",
                "MATCH",
                "TARGET",
                "AVAILABLE",
                "CONNECTIONS",
                "UNAVAILABLE",
                "LOST",
            ])
            .assert_says(&["web", "command-line", "tcp/8080 ", "proxy:15001", "yes", " 2 "])
            .assert_says(&["web", "api", "tcp/8080-8081", "yes"])
            .assert_says(&["overridden at tcp/8080 by web (command-line)"])
            .assert_says(&["down", "proxy:15002 else reset", "no"])
            .assert_says(&["overridden at tcp/10.96.0.0/12:9090 by hole (api)"])
            .assert_says(&["tcp/22", "built-in", "pass", "-"]);
        let get = world.redirector("route get web -o json");
        let document: Value = serde_json::from_str(&get.assert_code(0).stdout).expect("it is JSON");
        let origins: Vec<_> =
            document["routes"].as_array().expect("a list").iter().map(|route| &route["origin"]).collect();
        assert_eq!(origins, ["command-line", "api"]);
        world.redirector("route get web").assert_code(0).assert_says(&["route", "web:tcp/8080=proxy:15001"]);
        assert!(
            world.redirector("route get nothing").assert_code(4).stderr.contains("there is no route nothing")
        );
        let interfaces = world.redirector("interface list");
        interfaces
            .assert_code(0)
            .assert_says(&["to-client", "tc_ingress", "ethernet"])
            .assert_does_not_say(&["to-server"]);
        agent.stop();
    });
}

#[test]
fn routes_of_the_last_agent_that_the_host_no_longer_allows_are_put_aside_and_the_others_kept() {
    in_world(|world| {
        let _proxy = world.proxy();
        world.node.ip("address add 192.0.2.77/32 dev lo");
        let agent = world.agent(&["web:8080=proxy:15001"]);
        world.redirector("route add away:9090=proxy:192.0.2.77:15001").assert_code(0);
        agent.stop();
        world.node.ip("address delete 192.0.2.77/32 dev lo");
        let agent = world.agent(&["web:8080=proxy:15001"]);
        let line = agent.wait_for("warning: the API's routes of the last agent are left out");
        assert!(line.contains("api-routes.journal.bad"), "{line}");
        let kept =
            fs::read_to_string(world.node.state_dir().join("api-routes.journal.bad")).expect("it is kept");
        assert!(kept.contains("192.0.2.77"), "{kept}");
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        world.redirector("route get away").assert_code(4);
        agent.stop();
    });
}

#[test]
fn what_is_refused_changes_nothing() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["web:8080=proxy:15001"]);
        world.redirector("route add a:9090=proxy:15001").assert_code(0);
        let before = world.redirector("route list -o json").stdout;
        let proxies: Vec<_> = (1..=300).map(|n| format!("{n}=proxy:{}", 20000 + n)).collect();
        for (arguments, code, words) in [
            ("add a:9091=proxy:15001".to_owned(), 5, &["there is a route a already"][..]),
            ("add b:9090=drop c:9095=drop".to_owned(), 5, &["routes a and b (api)", "tcp/9090"]),
            ("add b:9091=proxy:192.0.2.77:15001".to_owned(), 5, &["192.0.2.77", "not of this host"]),
            ("remove a nothing".to_owned(), 4, &["there is no route nothing"]),
            // What others gave is theirs.
            ("remove web".to_owned(), 4, &["there is no route web"]),
            (format!("add {}", proxies.join(" ")), 5, &["proxies", "256"]),
        ] {
            for dry_run in ["", " --dry-run"] {
                let outcome = world.redirector(&format!("route {arguments}{dry_run}"));
                assert_eq!(outcome.assert_code(code).stdout, "");
                for word in words {
                    assert!(outcome.stderr.contains(word), "{word:?} is not in {}", outcome.stderr);
                }
            }
        }
        world.redirector("route remove a --dry-run").assert_code(0).assert_says(&["would remove a"]);
        assert_eq!(world.redirector("route list -o json").stdout, before);
        agent.stop();
    });
}

#[test]
fn commands_at_once_leave_what_some_order_of_them_leaves() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real: Vec<_> = (0..4).map(|n| world.real_server(PORT + n)).collect();
        let agent = world.agent(&[]);
        let won: usize = thread::scope(|scope| {
            let all: Vec<_> = (0..4_u16)
                .map(|client| {
                    scope.spawn(move || {
                        let mut won = 0;
                        for round in 0..8 {
                            // One name that all want, and one that nobody else has.
                            won += usize::from(
                                world.redirector(&format!("route add r{round}:{}=drop", 7000 + round)).code
                                    == 0,
                            );
                            let port = PORT + client;
                            world
                                .redirector(&format!("route add own{client}:{port}=proxy:15001"))
                                .assert_code(0);
                            if round < 7 || client % 2 == 0 {
                                world.redirector(&format!("route remove own{client}")).assert_code(0);
                            }
                        }
                        won
                    })
                })
                .collect();
            all.into_iter().map(|thread| thread.join().expect("it ends well")).sum()
        });
        assert_eq!(won, 8, "each name was added once");
        assert_eq!(api_names(world), ["own1", "own3", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"]);
        for family in FAMILIES {
            for client in 0..4 {
                let name = if client % 2 == 1 { "proxy" } else { "server" };
                world.assert_reaches((family.server(), PORT + client), name);
            }
        }
        agent.stop();
    });
}

#[test]
fn others_may_not() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&[]);
        let socket = world.node.state_dir().join("api.sock");
        let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!([mode(world.node.state_dir()), mode(&socket)], [0o755, 0o660]);
        let as_nobody = || {
            let mut command = world.node.command("setpriv");
            command.args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                BINARY,
                "route",
                "add",
                "web:8080=drop",
            ]);
            Outcome::of(command)
        };
        assert!(as_nobody().assert_code(6).stderr.contains("hint: run it as root"));
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("change the mode");
        assert!(as_nobody().assert_code(6).stderr.contains("user 65534"));
        agent.wait_for("api: refused user 65534");
        assert_eq!(api_names(world), [""; 0]);
        agent.stop();
    });
}

#[test]
fn the_socket_goes_with_the_agent_and_its_routes_come_back_after_a_kill() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let socket = world.node.state_dir().join("api.sock");
        let agent = world.agent(&[]);
        world.redirector("route add web:8080=proxy:15001 gone:9090=drop").assert_code(0);
        world.redirector("route remove gone").assert_code(0);
        agent.kill();
        assert!(socket.exists(), "a killed agent leaves its name");
        world.redirector("route list").assert_code(3);
        let agent = world.agent(&[]);
        assert_eq!(api_names(world), ["web"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        agent.stop();
        assert!(!socket.exists());
        world.redirector("route list").assert_code(3);
        // What cannot be read is put aside, and does not keep the agent from starting.
        fs::write(world.node.state_dir().join("api-routes.journal"), "{\"version\": 1, \"rou")
            .expect("write");
        let agent = world.agent(&[]);
        assert!(agent.said().iter().any(|line| line.contains("api-routes.journal.bad")));
        assert_eq!(api_names(world), [""; 0]);
        agent.stop();
    });
}

/// The names of the routes that the API gave, sorted.
#[track_caller]
fn api_names(world: &World) -> Vec<String> {
    let list = world.redirector("route list -o json");
    let document: Value = serde_json::from_str(&list.assert_code(0).stdout).expect("it is JSON");
    let routes = document["routes"].as_array().expect("a list").iter();
    let of_api = routes.filter(|route| route["origin"] == "api");
    let mut names: Vec<_> =
        of_api.map(|route| route["route"]["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}
