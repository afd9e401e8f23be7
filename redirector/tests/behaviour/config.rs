//! An agent that reads files: what they say happens, what the command line says more, and wrong files change nothing.

use std::{path::Path, process::Command};

use crate::support::{
    Agent, Listener, Server, World,
    agent::BINARY,
    files::Directory,
    in_world,
    snapshot::Snapshot,
    world::{FAMILIES, Family},
};

#[test]
fn routes_of_the_file_and_of_conf_d_are_steered() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _other = FAMILIES.map(|family| other_proxy(world, family));
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &format!("version = 1\n{INTERFACES}\n{WEB}"));
        directory.write("conf.d/10-api.toml", API);
        directory.write("conf.d/.old.toml", "this is not TOML");
        let agent = start(world, &file, &[]);
        assert!(agent.said().iter().any(|line| line == "ready: 1 interface captured, 2 routes"));
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8080), "proxy");
            world.assert_reaches((family.service(), 9090), "other");
            world.assert_reaches((family.node(), 8080), "proxy");
        }
        let summary = agent.stop();
        assert_eq!([summary.connections("web"), summary.connections("api")], [4, 2]);
    });
}

#[test]
fn flags_say_more_than_the_environment_and_that_more_than_files() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let text =
            format!("version = 1\ntable = 8201\nmark = 0x4000\nrule_priority = 201\n{INTERFACES}\n{WEB}");
        let file = directory.write("redirector.toml", &text);
        let mut command = run(world, &file, &["--table", "8203"]);
        command.envs([("REDIRECTOR_TABLE", "8202"), ("REDIRECTOR_MARK", "0x8000")]);
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        for ip in ["ip rule", "ip -6 rule"] {
            let rules = world.node.output(ip);
            for word in ["201:", "202:", "203:", "0x8000/0x8000", "lookup 8203"] {
                assert!(rules.contains(word), "{word} is not in {rules}");
            }
        }
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8080), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn the_environment_alone_is_enough() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let file = directory.write("redirector.toml", "version = 1");
        let mut command = world.node.command(BINARY);
        command.arg("run").env("REDIRECTOR_CONFIG", file);
        command.env("REDIRECTOR_INTERFACES", "to-client,to-server");
        command.env("REDIRECTOR_ROUTES", "web:8080=proxy:15001\nother:9090,9091=proxy:15001");
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        assert!(agent.said().iter().any(|line| line == "ready: 2 interfaces captured, 2 routes"));
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8080), "proxy");
            world.assert_reaches((family.service(), 9091), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn interfaces_of_the_command_line_replace_those_of_the_file_and_its_exceptions() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let text = format!(
            "version = 1\ninterfaces = {{ include = [\"to-server\"], exclude = [\"to-client\"] }}\n{WEB}"
        );
        let file = directory.write("redirector.toml", &text);
        let agent = start(world, &file, &["--interface", "to-client"]);
        assert!(agent.said().iter().all(|line| !line.starts_with("interface to-server")));
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8080), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn an_interface_that_the_file_excludes_is_left_alone() {
    in_world(|world| {
        let directory = Directory::new();
        let text =
            format!("version = 1\ninterfaces = {{ include = [\"to-*\"], exclude = [\"to-server\"] }}\n{WEB}");
        let agent = start(world, &directory.write("redirector.toml", &text), &[]);
        let said = agent.said();
        let captured: Vec<_> = said.iter().filter(|line| line.contains(": captured")).collect();
        assert_eq!(captured.len(), 1, "{said:#?}");
        assert!(captured[0].starts_with("interface to-client:"), "{said:#?}");
        agent.stop();
    });
}

#[test]
fn a_route_of_the_command_line_wins_over_an_equal_one_of_a_file() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _other = FAMILIES.map(|family| other_proxy(world, family));
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &format!("version = 1\n{INTERFACES}\n{WEB}"));
        let agent = start(world, &file, &["--route", "web:8080=proxy:15002"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8080), "other");
        }
        agent.stop();
    });
}

#[test]
fn what_the_file_does_not_protect_is_steered() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let text = "[[route]]\nname = \"all\"\nports = [\"1-65535\"]\ntarget = { proxy = 15001 }";
        let file =
            directory.write("redirector.toml", &format!("version = 1\nprotect = []\n{INTERFACES}\n{text}"));
        let agent = start(world, &file, &[]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), 22), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_nothing_is_attached() {
    in_world(|world| {
        let directory = Directory::new();
        let wrong = "version = 1\nmrak = 1\n[[route]]\nports = [80, 0]\ntarget = \"drop\"";
        let file = directory.write("redirector.toml", &format!("{wrong}\n{INTERFACES}"));
        directory.write("conf.d/a.toml", "version = 1\nreconcile = 30");
        let said = assert_refused(world, &file, 5);
        for line in [
            "redirector: the configuration has 4 errors",
            "/redirector.toml:2:1: `mrak` is not a setting: did you mean `mark`?",
            "/redirector.toml:4:14: 0 is not a port: ports are 1 to 65535",
            "/redirector.toml:6:1: `interfaces` is a setting of the file: it stands above",
            "/conf.d/a.toml:2:13: expected a duration such as \"30s\", found a number",
            "  ports = [80, 0]",
            "               ^",
        ] {
            assert!(said.contains(line), "{line:?} is not in: {said}");
        }
    });
}

#[test]
fn routes_of_files_that_tie_are_refused_with_both_places() {
    in_world(|world| {
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &format!("version = 1\n{INTERFACES}\n{WEB}"));
        let same = WEB.replace("\"web\"", "\"same\"");
        directory.write("conf.d/a.toml", &format!("version = 1\n{same}"));
        let said = assert_refused(world, &file, 5);
        for line in [
            "routes web and same (files) both match tcp/8080",
            "/redirector.toml:4:8: route web",
            "/conf.d/a.toml:3:8: route same",
        ] {
            assert!(said.contains(line), "{line:?} is not in: {said}");
        }
    });
}

#[test]
fn a_file_that_was_named_and_is_not_there_is_an_error() {
    in_world(|world| {
        let said = assert_refused(world, Path::new("/nowhere/redirector.toml"), 4);
        assert!(said.contains("read /nowhere/redirector.toml: No such file"), "{said}");
    });
}

#[test]
fn a_file_that_names_no_interface_is_as_good_as_none() {
    in_world(|world| {
        let directory = Directory::new();
        let said = assert_refused(world, &directory.write("a.toml", &format!("version = 1\n{WEB}")), 2);
        assert!(said.contains("no interface is given"), "{said}");
    });
}

const INTERFACES: &str = "interfaces = { include = [\"to-client\"] }";

const WEB: &str = "\
[[route]]
name = \"web\"
ports = [8080]
target = { proxy = 15001 }";

const API: &str = "\
version = 1
[[route]]
name = \"api\"
ports = [\"9090-9091\"]
destinations = [\"192.0.2.0/24\", \"2001:db8:2::/48\"]
target = { proxy = [\"127.0.0.1:15002\", \"[::1]:15002\"] }";

/// A second proxy, which answers with the name `other`.
fn other_proxy(world: &World, family: Family) -> Server {
    Listener::proxy((family.loopback(), 15002)).serve(&world.node, "other")
}

/// `redirector run` with a file.
fn run(world: &World, file: &Path, flags: &[&str]) -> Command {
    let mut command = world.node.command(BINARY);
    command.arg("run").arg("--config").arg(file).args(flags);
    command
}

/// Starts an agent, and waits until it steers.
fn start(world: &World, file: &Path, flags: &[&str]) -> Agent {
    let agent = Agent::spawn(run(world, file, flags));
    agent.wait_until_ready();
    agent
}

/// Runs an agent, which must end with this code, write nothing to stdout and change nothing; what it says.
#[track_caller]
fn assert_refused(world: &World, file: &Path, code: i32) -> String {
    let before = Snapshot::take(&world.node);
    let mut agent = Agent::spawn(run(world, file, &[]));
    let status = agent.wait();
    let said = agent.said().join("\n");
    assert_eq!(status.code(), Some(code), "{said}");
    assert_eq!(agent.output(), "", "what is wrong goes to stderr");
    before.assert_unchanged(&Snapshot::take(&world.node));
    said
}
