//! All of a namespace that an agent could leave changed.

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    time::Instant,
};

use redirector::datapath::Found;

use super::{DEADLINE, Netns, nat::tracks};

/// Lines, each with the command or file that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Takes one, when all links are up.
    pub fn take(netns: &Netns) -> Self {
        // The kernel tells the routing tables and the queues of a new link's carrier when it gets round to it, at most
        // once a second (net/core/link_watch.c).
        until("all links are up", || {
            let links = netns.output("ip -o link");
            (!links.contains(" DOWN") && !links.contains("LOWERLAYERDOWN")).then_some(())
        });
        let mut lines = BTreeSet::new();
        for command in [
            "ip -d rule",
            "ip -6 -d rule",
            "ip -d route show table all",
            "ip -6 -d route show table all",
            "ip -d link",
            "ip address",
            "tc qdisc",
            "nft list ruleset",
            "bpftool net",
        ] {
            add(&mut lines, command, &netns.output(command));
        }
        for interface in interfaces(netns) {
            for direction in ["ingress", "egress"] {
                let command = format!("tc filter show dev {interface} {direction}");
                add(&mut lines, &command, &netns.output(&command));
            }
        }
        add(&mut lines, "bpftool link", &netns_links(netns));
        add(&mut lines, "programs by TCX", &tcx_programs(netns));
        netns.run(|| {
            sysctls(&mut lines, Path::new("/proc/sys/net"));
            add(&mut lines, "/proc/net/unix", &abstract_sockets());
        });
        lines.insert(format!("connections are tracked: {:?}", tracks(netns)));
        Self(lines)
    }

    /// The sysctls alone.
    pub fn sysctls(self) -> Self {
        Self(self.0.into_iter().filter(|line| line.starts_with("/proc/sys/")).collect())
    }

    /// Asserts that nothing differs from this in what was taken later.
    #[track_caller]
    pub fn assert_unchanged(&self, later: &Self) {
        let gone: Vec<_> = self.0.difference(&later.0).collect();
        let new: Vec<_> = later.0.difference(&self.0).collect();
        assert!(gone.is_empty() && new.is_empty(), "changed in the namespace: gone {gone:#?}, new {new:#?}");
    }
}

/// Asks again until there is an answer.
pub fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "it is not so that {what}");
    }
}

fn add(lines: &mut BTreeSet<String>, from: &str, text: &str) {
    let numbered = text.lines().enumerate();
    lines.extend(numbered.map(|(number, line)| format!("{from}: {number}: {line}")));
}

fn interfaces(netns: &Netns) -> Vec<String> {
    let text = netns.output("ip -o link");
    let names = text.lines().filter_map(|line| line.split(": ").nth(1));
    names.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect()
}

/// BPF links to the namespace itself, such as sk_lookup's: `bpftool net` does not show them.
fn netns_links(netns: &Netns) -> String {
    let inode = nix::sys::stat::fstat(netns.as_fd()).expect("stat the namespace").st_ino;
    // It gives up at a link that somebody else is about to make.
    let text = until("bpftool lists all links", || {
        let (success, output, _) = netns.try_output("bpftool link");
        success.then_some(output)
    });
    text.lines().filter(|line| line.contains(&format!("netns_ino {inode} "))).collect::<Vec<_>>().join("\n")
}

/// The TCX chains, which bpftool shows since 7.3 only.
fn tcx_programs(netns: &Netns) -> String {
    let found = netns.run(|| Found::look().expect("root may look"));
    let chains = found.chains.iter().filter(|chain| chain.hook == redirector::datapath::Hook::Tcx);
    let members = chains.flat_map(|chain| {
        chain.members.iter().map(|member| format!("{}: {} {:?}", chain.place(), member.name, member.program))
    });
    members.collect::<Vec<_>>().join("\n")
}

/// Of the calling thread's namespace.
fn sysctls(lines: &mut BTreeSet<String>, directory: &Path) {
    for entry in fs::read_dir(directory).expect("list sysctls") {
        let path = entry.expect("list sysctls").path();
        let kind = fs::metadata(&path).expect("stat a sysctl");
        if kind.is_dir() {
            sysctls(lines, &path);
        } else if path.ends_with("nf_conntrack_count") {
            // What is tracked now is traffic's, not an agent's.
        } else if kind.mode() & 0o400 != 0 {
            // Some cannot be read, `stable_secret` before it is set: that too can change.
            let value = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
            lines.insert(format!("{}: {value}", path.display()));
        }
    }
}

fn abstract_sockets() -> String {
    let text = fs::read_to_string("/proc/net/unix").expect("list the Unix sockets");
    let names = text.lines().filter_map(|line| line.split_whitespace().nth(7));
    names.filter(|name| name.starts_with('@')).collect::<Vec<_>>().join("\n")
}
