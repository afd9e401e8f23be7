//! Ways from the client to the server.

use std::{
    fs,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use nix::net::if_::if_nametoindex;

use super::workloads::{self, Measure, Workload};
use crate::{
    raw,
    support::{
        Agent, Hook, World,
        world::{Family, PORT, PROXY_PORT},
    },
};

/// A way from the client to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing in between.
    Direct,
    /// The same once more, in namespaces of its own: the control of the control.
    DirectAgain,
    /// Through a program that does nothing.
    Empty,
    /// The same once more.
    EmptyAgain,
    /// Past the redirector, to a port that no route names.
    Unmatched,
    /// By the redirector, to an address that is not the node's.
    Foreign,
    /// By the redirector, to an address of the node.
    Local,
    /// By a rule of iptables-legacy.
    LegacyRedirect,
    /// By a rule of iptables-nft.
    NftRedirect,
}

/// All of them.
pub const KINDS: [Kind; 9] = [
    Kind::Direct,
    Kind::DirectAgain,
    Kind::Empty,
    Kind::EmptyAgain,
    Kind::Unmatched,
    Kind::Foreign,
    Kind::Local,
    Kind::LegacyRedirect,
    Kind::NftRedirect,
];

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectAgain => "direct, again",
            Self::Empty => "empty program",
            Self::EmptyAgain => "empty program, again",
            Self::Unmatched => "redirector, no route",
            Self::Foreign => "redirector, foreign",
            Self::Local => "redirector, local",
            Self::LegacyRedirect => "iptables-legacy REDIRECT",
            Self::NftRedirect => "iptables-nft REDIRECT",
        }
    }

    /// Where the server listens.
    fn listens(self) -> SocketAddr {
        match self {
            Self::Direct | Self::DirectAgain | Self::Empty | Self::EmptyAgain | Self::Unmatched => {
                self.destination()
            }
            Self::Foreign | Self::Local => (Family::V4.loopback(), PROXY_PORT).into(),
            // REDIRECT leads to the address of the interface that the packet came by.
            Self::LegacyRedirect | Self::NftRedirect => (Family::V4.node(), PROXY_PORT).into(),
        }
    }

    /// Where the client connects to.
    fn destination(self) -> SocketAddr {
        match self {
            Self::Direct | Self::DirectAgain | Self::Empty | Self::EmptyAgain | Self::Local => {
                (Family::V4.node(), PORT).into()
            }
            Self::Unmatched => (Family::V4.node(), PORT + 1).into(),
            Self::Foreign | Self::LegacyRedirect | Self::NftRedirect => (Family::V4.service(), PORT).into(),
        }
    }

    /// Whether the agent runs.
    fn is_ours(self) -> bool {
        matches!(self, Self::Unmatched | Self::Foreign | Self::Local)
    }

    /// The program that puts the rule in.
    fn iptables(self) -> Option<&'static str> {
        match self {
            Self::LegacyRedirect => Some("iptables-legacy"),
            Self::NftRedirect => Some("iptables-nft"),
            _ => None,
        }
    }
}

/// A way that is open.
pub struct Mode {
    pub kind: Kind,
    world: World,
    _agent: Option<Agent>,
    /// Keeps the empty program attached.
    _link: Option<OwnedFd>,
}

impl Mode {
    /// Opens it in namespaces of its own; says so where that cannot be done here.
    pub fn new(kind: Kind) -> Option<Self> {
        let world = World::new(Hook::Auto);
        // Many connections that the client closes: it may use their ports again, and has many.
        world.client.set_sysctl("ipv4/tcp_tw_reuse", "1");
        world.client.set_sysctl("ipv4/ip_local_port_range", "1024 65535");
        if let Some(iptables) = kind.iptables() {
            let rule = format!(
                "{iptables} -w -t nat -A PREROUTING -p tcp --dport {PORT} -j REDIRECT --to-ports {PROXY_PORT}"
            );
            let (success, _, complaint) = world.node.try_output(&rule);
            if !success {
                println!("{} is left out: {}", kind.name(), complaint.trim());
                return None;
            }
        }
        workloads::serve(&world.node, kind.listens());
        let agent = kind.is_ours().then(|| world.agent(&["web:8080=proxy:15001"]));
        let is_empty = matches!(kind, Kind::Empty | Kind::EmptyAgain);
        let link = is_empty.then(|| world.node.run(attach_empty));
        Some(Self { kind, world, _agent: agent, _link: link })
    }

    /// Measures one round.
    pub fn measure(&self, workload: &Workload, quick: bool) -> Measure {
        let count = if quick { workload.count / 100 } else { workload.count };
        self.world.client.run(|| (workload.run)(self.kind.destination(), count))
    }

    /// How many connections the node tracks.
    pub fn tracked(&self) -> String {
        let read = || fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        self.world.node.run(read).map_or_else(|_| "none".to_owned(), |count| count.trim().to_owned())
    }
}

fn attach_empty() -> OwnedFd {
    let program = raw::empty().expect("load an empty program");
    let ifindex = if_nametoindex("to-client").expect("find the interface");
    raw::attach(program.as_fd(), ifindex).expect("attach an empty program")
}
