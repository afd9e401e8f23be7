//! NAT on the node, as kube-proxy and docker make it, and what the kernel tracks.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
};

use super::{
    Agent, DEADLINE, Netns, World,
    agent::{BINARY, run_arguments},
    world::{FAMILIES, Family, PORT},
};

/// With what NAT is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    IptablesNft,
    IptablesLegacy,
    Nftables,
}

/// All of them: what is shown beside one is shown beside the others.
pub const TOOLS: [Tool; 3] = [Tool::IptablesNft, Tool::IptablesLegacy, Tool::Nftables];

impl Tool {
    /// Translates connections to one address and port, those that arrive and those of the host itself.
    pub fn translate(self, netns: &Netns, from: SocketAddr, to: SocketAddr) {
        let (address, port) = (from.ip(), from.port());
        let chains = [("PREROUTING", "prerouting"), ("OUTPUT", "output")];
        for (chain, hook) in chains {
            match self {
                Self::IptablesNft | Self::IptablesLegacy => {
                    let iptables = self.iptables(from.is_ipv4());
                    netns.output(&format!(
                        "{iptables} -t nat -A {chain} -d {address} -p tcp --dport {port} -j DNAT --to-destination {to}"
                    ));
                }
                Self::Nftables => {
                    let family = if from.is_ipv4() { "ip" } else { "ip6" };
                    let table = format!("{family} kube-proxy");
                    netns.output(&format!("nft add table {table}"));
                    netns.output(&format!(
                        "nft add chain {table} nat-{hook} {{ type nat hook {hook} priority -100 ; }}"
                    ));
                    netns.output(&format!(
                        "nft add rule {table} nat-{hook} {family} daddr {address} tcp dport {port} dnat to {to}"
                    ));
                }
            }
        }
    }

    /// Translates datagrams that arrive for one address and port, by nftables.
    pub fn translate_datagrams(netns: &Netns, from: SocketAddr, to: SocketAddr) {
        let (address, port) = (from.ip(), from.port());
        let family = if from.is_ipv4() { "ip" } else { "ip6" };
        let table = format!("{family} kube-proxy");
        netns.output(&format!("nft add table {table}"));
        netns.output(&format!(
            "nft add chain {table} prerouting {{ type nat hook prerouting priority -100 ; }}"
        ));
        netns.output(&format!(
            "nft add rule {table} prerouting {family} daddr {address} udp dport {port} dnat to {to}"
        ));
    }

    /// What the agent calls it, in a family.
    pub fn name(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::IptablesNft, Family::V4) => "iptables-nft: ip nat PREROUTING",
            (Self::IptablesNft, Family::V6) => "ip6tables-nft: ip6 nat PREROUTING",
            (Self::IptablesLegacy, Family::V4) => "iptables-legacy: ip nat",
            (Self::IptablesLegacy, Family::V6) => "ip6tables-legacy: ip6 nat",
            (Self::Nftables, Family::V4) => "nftables: ip kube-proxy nat-prerouting",
            (Self::Nftables, Family::V6) => "nftables: ip6 kube-proxy nat-prerouting",
        }
    }

    fn iptables(self, v4: bool) -> &'static str {
        match (self, v4) {
            (Self::IptablesLegacy, true) => "iptables-legacy",
            (Self::IptablesLegacy, false) => "ip6tables-legacy",
            (_, true) => "iptables-nft",
            (_, false) => "ip6tables-nft",
        }
    }
}

impl World {
    /// Translates connections to the service, and to the node itself, to the real server, all at this port.
    pub fn translate(&self, tool: Tool) {
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                tool.translate(&self.node, (address, PORT).into(), (family.server(), PORT).into());
            }
        }
    }

    /// Starts an agent that captures the client's side and lives with NAT in this way, and waits until it steers.
    pub fn agent_beside_nat(&self, mode: &str, routes: &[&str]) -> Agent {
        let mut command = self.node.command(BINARY);
        command.args(run_arguments(self.hook, "to-client", routes)).args(["--netfilter", mode]);
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        agent
    }
}

/// Whether connections are tracked in a namespace, in each family: shown by one over its loopback device.
pub fn tracks(netns: &Netns) -> [bool; 2] {
    FAMILIES.map(|family| {
        netns.run(|| {
            let socket = UdpSocket::bind((family.loopback(), 0)).expect("bind a socket");
            socket.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
            let address = socket.local_addr().expect("a bound socket has an address");
            socket.send_to(b"?", address).expect("send to oneself");
            socket.recv_from(&mut [0; 8]).expect("receive from oneself");
            let port = format!("sport={} ", address.port());
            tracked().iter().any(|entry| entry.contains("udp") && entry.contains(&port))
        })
    })
}

/// The TCP connections between a client and a port that the kernel tracks in a namespace.
pub fn tracked_tcp(netns: &Netns, port: u16) -> Vec<String> {
    let port = format!("port={port} ");
    let entries = netns.run(tracked);
    entries.into_iter().filter(|entry| entry.contains("tcp") && entry.contains(&port)).collect()
}

/// All that the kernel tracks in the calling thread's namespace.
fn tracked() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/nf_conntrack").expect("read what is tracked");
    text.lines().map(str::to_owned).collect()
}
