//! Configuration files that change while the agent runs.

use std::{fs, os::unix::fs::symlink, path::Path};

use nix::sys::signal::Signal;

use crate::support::{
    Agent, World,
    agent::BINARY,
    client::Connection,
    files::Directory,
    frames::{self, Wire, flag},
    in_world,
    snapshot::until,
    world::{FAMILIES, PORT},
};

#[test]
fn files_that_change_are_applied_and_what_is_open_goes_on() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real = [world.real_server(PORT), world.real_server(9090)];
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &text(&[8080]));
        let agent = start(world, &file);
        let mut open = FAMILIES.map(|family| connect(world, (family.server(), PORT).into()));
        directory.write("redirector.toml", &text(&[9090]));
        agent.wait_for("configuration applied: 1 route added, 0 replaced, 1 removed");
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "server");
            world.assert_reaches((family.server(), 9090), "proxy");
        }
        open.iter_mut().for_each(Connection::assert_echoes);
        // There was no such directory when the agent began.
        directory.write("conf.d/a.toml", "version = 1");
        agent.wait_for("configuration applied: 0 routes added");
        directory.write("conf.d/a.toml", &format!("version = 1\n{}", route(8080)));
        agent.wait_for("configuration applied: 1 route added, 0 replaced, 0 removed");
        for family in FAMILIES {
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn a_config_map_that_swaps_its_link_is_applied() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(PORT);
        let directory = Directory::new();
        directory.write("..one/redirector.toml", &text(&[9090]));
        directory.write("..two/redirector.toml", &text(&[8080]));
        directory.write("..three/redirector.toml", &text(&[9090]));
        let (data, new) = (directory.path().join("..data"), directory.path().join("..data_tmp"));
        symlink("..one", &data).expect("link");
        let file = directory.path().join("redirector.toml");
        symlink("..data/redirector.toml", &file).expect("link");
        let agent = start(world, &file);
        for (nth, version, name) in [(1, "..two", "proxy"), (2, "..three", "server")] {
            symlink(version, &new).expect("link");
            fs::rename(&new, &data).expect("swap");
            agent.wait_for_nth(nth, "the files are applied", |line| {
                line == "configuration applied: 1 route added, 0 replaced, 1 removed"
            });
            for family in FAMILIES {
                world.assert_reaches((family.server(), PORT), name);
            }
        }
        agent.stop();
    });
}

#[test]
fn wrong_files_are_refused_whole_and_status_says_so_until_they_are_right() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(9090);
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &text(&[8080]));
        let agent = start(world, &file);
        directory.write("redirector.toml", &format!("{}\nprots = [7070]", text(&[9090])));
        agent.wait_for("warning: configuration refused, and the old routes kept:");
        assert!(agent.wait_for("  /").contains("did you mean `ports`?"));
        for family in FAMILIES {
            world.assert_reaches((family.server(), 9090), "server");
            world.assert_reaches((family.service(), 8080), "proxy");
        }
        let status = world.redirector("status");
        status.assert_code(1).assert_says(&["WARN", "configuration", "refused as a whole", "prots"]);
        let dry = world.redirector("route apply --dry-run");
        assert!(dry.assert_code(5).stderr.contains("did you mean `ports`?"), "{}", dry.stderr);

        directory.write("redirector.toml", &text(&[8080, 9090]));
        agent.wait_for("configuration applied: 1 route added, 0 replaced, 0 removed");
        world.redirector("status").assert_does_not_say(&["configuration"]);
        for family in FAMILIES {
            world.assert_reaches((family.server(), 9090), "proxy");
        }
        agent.stop();
        assert_eq!(fs::read_dir(world.node.state_dir()).expect("it is there").count(), 0, "nothing is left");
    });
}

#[test]
fn a_signal_and_a_command_have_the_files_read_at_once() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &text(&[8080]));
        let agent = start(world, &file);
        agent.signal(Signal::SIGHUP);
        agent.wait_for("configuration applied: 0 routes added, 0 replaced, 0 removed");
        let again = world.redirector("route apply");
        assert_eq!(again.assert_code(0).stderr, "nothing to change\n");
        assert!(world.redirector("route apply --replace").assert_code(2).stderr.contains("--file"));
        for family in FAMILIES {
            world.assert_reaches((family.service(), 8080), "proxy");
        }
        agent.stop();
    });
}

#[test]
fn settings_that_need_a_restart_are_named_once_and_what_a_flag_sets_is_not() {
    in_world(|world| {
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &text(&[8080]));
        let mut command = world.node.command(BINARY);
        command.args(["run", "--metrics-listen", "off", "--config"]).arg(&file);
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        let settings =
            "limits = { routes = 1000 }\nreconcile = \"20s\"\nmetrics = { listen = \"127.0.0.1:1\" }\n";
        directory
            .write("redirector.toml", &text(&[9090]).replace("[[route]]", &format!("{settings}[[route]]")));
        let said =
            "warning: changed in the files, and in force after a restart only: limits.routes, reconcile";
        assert_eq!(agent.wait_for("warning: changed in the files"), said);
        world.redirector("status").assert_says(&[
            "WARN",
            "configuration",
            "restart only: limits.routes, reconcile",
        ]);
        let again = world.redirector("route apply");
        assert!(
            again.assert_code(0).stderr.contains("restart only: limits.routes, reconcile"),
            "{}",
            again.stderr
        );

        directory.write("redirector.toml", &text(&[8080]));
        agent.wait_for_nth(2, "the files are applied", |line| line.starts_with("configuration applied: "));
        world.redirector("status").assert_does_not_say(&["configuration"]);
        assert_eq!(agent.said().iter().filter(|line| line.starts_with("warning: changed")).count(), 1);
        agent.stop();
    });
}

fn text(ports: &[u16]) -> String {
    let routes: String = ports.iter().map(|port| route(*port)).collect();
    format!("version = 1\ninterfaces = {{ include = [\"to-client\"] }}\n{routes}")
}

fn route(port: u16) -> String {
    format!("[[route]]\nname = \"port-{port}\"\nports = [{port}]\ntarget = {{ proxy = 15001 }}\n")
}

fn start(world: &World, file: &Path) -> Agent {
    let mut command = world.node.command(BINARY);
    command.arg("run").arg("--config").arg(file);
    let agent = Agent::spawn(command);
    agent.wait_until_ready();
    agent
}

fn connect(world: &World, to: std::net::SocketAddr) -> Connection {
    let mut connection = Connection::open(&world.client, to).unwrap_or_else(|error| panic!("{to}: {error}"));
    connection.assert_echoes();
    connection
}

#[test]
fn a_port_that_is_steered_no_more_is_forgotten_when_its_last_connection_has_ended() {
    in_world(|world| {
        let _proxy = world.proxy();
        let directory = Directory::new();
        let file = directory.write("redirector.toml", &text(&[8080]));
        let agent = start(world, &file);
        let mut open = FAMILIES.map(|family| connect(world, (family.server(), PORT).into()));
        directory.write("redirector.toml", &text(&[9090]));
        agent.wait_for("configuration applied: 1 route added, 0 replaced, 1 removed");
        // A rule that is gone brings a reconcile about; two, for the first may not have ended when it is told.
        let mut repaired = 0;
        let mut reconcile = || {
            for _ in 0..2 {
                repaired += 1;
                world.node.output("ip rule delete pref 92");
                agent.wait_for_nth(repaired, "reconciled", |line| line.starts_with("repaired: IPv4 rule 92"));
            }
        };
        let wire = Wire::open(&world.client, "to-node");
        let strangers = || {
            for family in FAMILIES {
                let (from, to) = ((family.client(), 40000), (family.server(), PORT));
                wire.send(&frames::tcp(from.into(), to.into(), flag::ACK));
                // Behind which they were seen.
                world.assert_reaches((family.server(), 9090), "proxy");
            }
        };
        reconcile();
        open.iter_mut().for_each(Connection::assert_echoes);
        strangers();
        drop(open);
        until("the connections have ended", || {
            let connections = world.node.output("ss --no-header --tcp --all sport = :8080");
            connections.trim().is_empty().then_some(())
        });
        reconcile();
        strangers();
        let summary = agent.stop();
        assert_eq!(summary.packets("passed", "not-new"), 2, "looked up before, and not after");
    });
}
