//! The agent as a service: under exactly the restrictions of deploy/redirector.service, and what it tells systemd.

mod unit;

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{
    World, at_each_hook,
    confined::{Confined, assert_confined},
    files::Directory,
    in_world,
    nat::TOOLS,
    service_manager::ServiceManager,
    snapshot::Snapshot,
    world::{FAMILIES, PORT},
};
use unit::Unit;

#[test]
fn a_service_is_ready_when_it_steers_and_tells_of_its_reload_and_its_end() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let before = Snapshot::take(&world.node);
        let host = Host::new();
        let service = host.start(world, "ExecStart", &[]);
        assert_eq!(host.manager.next(), ["READY=1", STANDING]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        let writable = ["/run/redirector", "/tmp"];
        assert_confined(service.agent.pid(), &Unit::read().capabilities(), &writable);
        // Root without root's powers.
        let status = fs::read_to_string(format!("/proc/{}/status", service.agent.pid())).expect("read it");
        assert!(status.contains("Uid:\t0\t0\t0\t0"), "{status}");

        assert_eq!(Unit::read().one("ExecReload"), "/bin/kill -HUP $MAINPID");
        service.agent.signal(Signal::SIGHUP);
        let [reloading, time, status] = host.manager.next().try_into().expect("three lines");
        assert_eq!([reloading.as_str(), &status], ["RELOADING=1", "STATUS=reloading"]);
        let time = time.strip_prefix("MONOTONIC_USEC=").and_then(|time| time.parse::<u64>().ok());
        assert!(time.is_some_and(|time| time > 0));
        assert_eq!(host.manager.next(), ["READY=1", STANDING]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }

        let summary = service.agent.stop();
        assert_eq!(host.manager.next()[0], "STOPPING=1");
        assert_eq!((summary.connections("web"), summary.lost("web")), (4, 0));
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn a_service_keeps_nat_away_from_what_it_steers_whatever_made_it() {
    for tool in TOOLS {
        in_world(|world| {
            let _servers = (world.proxy(), world.real_server(PORT));
            for family in FAMILIES {
                let service = (family.service(), PORT).into();
                tool.translate(&world.node, service, (family.server(), PORT).into());
                world.assert_answers(service, "server");
            }
            let host = Host::new();
            let service = host.start(world, "ExecStart", &[]);
            assert_eq!(host.manager.next(), ["READY=1", STANDING]);
            for family in FAMILIES {
                world.assert_reaches((family.service(), PORT), "proxy");
            }
            service.agent.stop();
        });
    }
}

#[test]
fn a_service_tells_that_it_is_alive_and_one_that_is_stopped_does_not() {
    in_world(|world| {
        let host = Host::new();
        let unit = Unit::read();
        assert!(!unit.watchdog().is_zero());
        // As that setting is told, but sooner.
        let service = host.start(world, "ExecStart", &[("WATCHDOG_USEC", "100000".to_owned())]);
        assert_eq!(host.manager.next(), ["READY=1", STANDING]);
        host.manager.assert_alive(3);
        service.agent.signal(Signal::SIGSTOP);
        host.manager.assert_silent();
        service.agent.signal(Signal::SIGCONT);
        host.manager.assert_alive(1);
        service.agent.stop();
    });
}

#[test]
fn what_is_looked_at_before_the_start_finds_a_good_host_good_and_a_bad_one_bad() {
    in_world(|world| {
        let before = Snapshot::take(&world.node);
        let host = Host::new();
        let check = || {
            let mut check = host.start(world, "ExecStartPre", &[]);
            let code = check.agent.wait().code().expect("it ends by itself");
            (code, check.agent.output())
        };
        let (code, said) = check();
        assert_eq!(code, 1, "the proxy does not listen yet: {said}");
        assert!(Unit::read().one("ExecStartPre").starts_with('-'), "which keeps no agent from starting");

        let proxy = world.proxy();
        let (code, said) = check();
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("OK    kernel-programs") && !said.contains("FAIL"), "{said}");

        host.config.write("redirector.toml", &CONFIG.replace("proxy = 15001", "prxy = 15001"));
        let (code, said) = check();
        assert_eq!(code, 5, "{said}");
        drop(proxy);
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn without_a_service_manager_nothing_is_told_and_nothing_fails() {
    in_world(|world| {
        let agent = world.agent(&["web:8080=proxy:15001"]);
        agent.signal(Signal::SIGHUP);
        agent.wait_for("configuration applied: 0 routes added");
        agent.stop();
    });
}

const STANDING: &str = "STATUS=1 interface captured, 1 route";

const CONFIG: &str = r#"
version = 1
interfaces = { include = ["to-client"] }

[[route]]
name = "web"
ports = [8080]
target = { proxy = 15001 }
"#;

/// What systemd gives a service.
struct Host {
    config: Directory,
    runtime: Directory,
    manager: ServiceManager,
}

impl Host {
    fn new() -> Self {
        let host =
            Self { config: Directory::new(), runtime: Directory::new(), manager: ServiceManager::new() };
        host.config.write("redirector.toml", CONFIG);
        host
    }

    /// Starts the command of a setting.
    fn start(&self, world: &World, setting: &str, more: &[(&str, String)]) -> Confined {
        let unit = Unit::read();
        let confinement = unit.confinement(self.config.path(), self.runtime.path(), self.manager.directory());
        let mut environment = vec![
            ("NOTIFY_SOCKET", "/run/systemd/notify".to_owned()),
            ("PATH", "/usr/bin".to_owned()),
            ("REDIRECTOR_ATTACH", world.hook.to_string()),
        ];
        environment.extend_from_slice(more);
        confinement.start(&world.node, &unit.line(setting), &environment)
    }
}
