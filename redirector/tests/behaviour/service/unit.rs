//! deploy/redirector.service: what it says, and what systemd makes of it.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use caps::CapsHashSet;

use crate::support::{
    agent::BINARY,
    confined::{Bind, Confinement},
    files::Directory,
    seccomp,
};

const TEXT: &str = include_str!("../../../../deploy/redirector.service");

/// The unit: its settings in their order.
pub struct Unit(Vec<(&'static str, &'static str)>);

impl Unit {
    /// Reads it.
    pub fn read() -> Self {
        let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        Self(lines.map(|line| line.split_once('=').expect("a setting")).collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(move |(setting, _)| *setting == name).map(|(_, value)| *value)
    }

    /// The value of a setting that stands there once.
    #[track_caller]
    pub fn one(&self, name: &str) -> &'static str {
        let values: Vec<_> = self.all(name).collect();
        let [value] = values[..] else { panic!("{name} stands there {} times", values.len()) };
        value
    }

    /// The command of a setting, without the dash by which its failure is no failure of the unit.
    pub fn line(&self, name: &str) -> Vec<String> {
        self.one(name).trim_start_matches('-').split_whitespace().map(str::to_owned).collect()
    }

    /// How long the agent may be silent.
    pub fn watchdog(&self) -> Duration {
        humantime::parse_duration(self.one("WatchdogSec")).expect("a duration")
    }

    /// All the capabilities that it can have.
    pub fn capabilities(&self) -> CapsHashSet {
        self.one("CapabilityBoundingSet").split(' ').map(|name| name.parse().expect("a capability")).collect()
    }

    /// What systemd makes of it: of the file system the program, its settings and what any program needs, and to
    /// write in only the runtime directory.
    pub fn confinement(&self, config: &Path, runtime: &Path, notify: &Path) -> Confinement {
        let switched_on = [
            "NoNewPrivileges",
            "ProtectHome",
            "PrivateTmp",
            "PrivateDevices",
            "ProtectKernelTunables",
            "MemoryDenyWriteExecute",
        ];
        assert!(switched_on.iter().all(|name| self.one(name) == "yes"), "{switched_on:?}");
        assert_eq!(self.one("ProtectSystem"), "strict");
        let libraries = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|path| Path::new(path).exists());
        let mut files: Vec<_> = libraries.map(|path| Bind::readable(path, path)).collect();
        files.push(Bind::readable(BINARY, &self.line("ExecStart")[0]));
        files.push(Bind::readable(config, "/etc/redirector"));
        files.push(Bind::readable(notify, "/run/systemd"));
        let target = Path::new("/run").join(self.one("RuntimeDirectory"));
        files.push(Bind { source: runtime.to_owned(), target, writable: true });
        Confinement {
            capabilities: self.capabilities(),
            calls: seccomp::allow(&self.calls(), &self.families()),
            no_writable_code: true,
            own_processes: false,
            own_tmp: true,
            files,
        }
    }

    /// The system calls that it may make.
    fn calls(&self) -> Vec<String> {
        // What systemd allows whatever is listed (systemd.exec(5)).
        let mut calls: BTreeSet<_> = set("@default");
        calls.extend(["execve", "exit", "exit_group", "getrlimit", "rt_sigreturn"].map(str::to_owned));
        for value in self.all("SystemCallFilter") {
            let (refused, names) = value.strip_prefix('~').map_or((false, value), |names| (true, names));
            for call in names.split(' ').flat_map(set) {
                if refused {
                    calls.remove(&call);
                } else {
                    calls.insert(call);
                }
            }
        }
        calls.into_iter().collect()
    }

    /// The kinds of sockets that it may make.
    fn families(&self) -> Vec<i32> {
        let number = |name| match name {
            "AF_UNIX" => libc::AF_UNIX,
            "AF_INET" => libc::AF_INET,
            "AF_INET6" => libc::AF_INET6,
            "AF_NETLINK" => libc::AF_NETLINK,
            _ => panic!("not known: {name}"),
        };
        self.one("RestrictAddressFamilies").split(' ').map(number).collect()
    }
}

/// The system calls of a set, or the one of this name.
fn set(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let text = systemd_analyze(&["syscall-filter", "--no-pager", name]);
    let lines = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(set).collect()
}

/// What it says; it must find nothing wrong.
#[track_caller]
fn systemd_analyze(arguments: &[&str]) -> String {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).env("SYSTEMD_COLORS", "0");
    let output = command.output().expect("run systemd-analyze");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    let (said, complaint) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success() && complaint.is_empty(), "{command:?}: {said}{complaint}");
    said
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let directory = Directory::new();
    // It looks whether there is such a program.
    let text = TEXT.replace("/usr/local/bin/redirector", BINARY);
    let file = directory.write("redirector.service", &text);
    let file = file.to_str().expect("a path is UTF-8");
    systemd_analyze(&["verify", "--man=no", file]);
    // Of 100; what remains is what an agent of this kind does. Most services that set nothing have more than 90.
    systemd_analyze(&["security", "--offline=yes", "--no-pager", "--threshold=25", file]);
}

#[test]
fn the_manual_page_that_the_unit_names_is_there() {
    let page = Unit::read().one("Documentation").trim_start_matches("man:").replace("(1)", ".1");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man").join(page);
    assert!(fs::exists(&path).expect("look for it"), "{}", path.display());
}
