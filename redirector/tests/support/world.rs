//! The world of a test: three namespaces and the links between them.
//!
//! ```text
//!  client                                 node                                    server
//!  10.0.1.2  ── to-node ═══ to-client ──  10.0.1.1   10.0.3.1  ── to-server ═══ to-node ──  10.0.3.2
//!  2001:db8:1::2                     2001:db8:1::1   2001:db8:3::1                     2001:db8:3::2
//! ```
//!
//! The client and the server reach each other through the node, which forwards. The service address, 192.0.2.1 or
//! 2001:db8:2::1, is nobody's: the node sends what goes there on to the server, which ignores it.
//!
//! The MAC addresses are 02:00:00:00:00:01 at the node and 02:00:00:00:00:02 at the other end of each link.

use std::{
    env,
    fmt::{self, Display},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
};

use super::{
    Agent, Listener, Netns, Server,
    agent::{BINARY, run_arguments},
};

/// An address family, and in it the address plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Both families: whatever is shown for one is shown for the other.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// The client.
    pub fn client(self) -> IpAddr {
        self.address([10, 0, 1, 2], [1, 2])
    }

    /// The node, on the client's side: an address of the host.
    pub fn node(self) -> IpAddr {
        self.address([10, 0, 1, 1], [1, 1])
    }

    /// The node, on the server's side.
    pub fn node_to_server(self) -> IpAddr {
        self.address([10, 0, 3, 1], [3, 1])
    }

    /// The server: another host, which exists.
    pub fn server(self) -> IpAddr {
        self.address([10, 0, 3, 2], [3, 2])
    }

    /// A service, whose address is nobody's.
    pub fn service(self) -> IpAddr {
        self.address([192, 0, 2, 1], [2, 1])
    }

    /// Loopback.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    fn address(self, v4: [u8; 4], [network, host]: [u16; 2]) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => [0x2001, 0xdb8, network, 0, 0, 0, 0, host].into(),
        }
    }
}

/// The port that the routes of most tests name.
pub const PORT: u16 = 8080;

/// Where the proxy listens, at 127.0.0.1 and at ::1.
pub const PROXY_PORT: u16 = 15001;

/// MAC address of the node on every link.
pub const NODE_MAC: &str = "02:00:00:00:00:01";

/// MAC address of the other end of every link.
pub const HOST_MAC: &str = "02:00:00:00:00:02";

/// The kind of hook that a world's agents are told to attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// The agent's choice.
    Auto,
    /// TCX.
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact,
}

impl Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// The namespaces.
pub struct World {
    /// Opens connections.
    pub client: Netns,
    /// Has the proxy and the agent, and forwards.
    pub node: Netns,
    /// Another host behind the node.
    pub server: Netns,
    /// What agents are told to attach to.
    pub hook: Hook,
}

impl World {
    /// Makes the namespaces and the links.
    pub fn new(hook: Hook) -> Self {
        println!("world: --attach {hook}");
        let [client, node, server] = ["client", "node", "server"].map(Netns::new);
        for netns in [&client, &node, &server] {
            // Before there are interfaces, which begin with the defaults. No address has to wait or can be
            // refused, and what multicast groups a host is in it tells once.
            netns.set_sysctl("ipv6/conf/default/accept_dad", "0");
            netns.set_sysctl("ipv6/conf/default/mldv2_unsolicited_report_interval", "86400000");
            netns.set_sysctl("ipv4/conf/default/rp_filter", "0");
            netns.set_sysctl("ipv4/conf/all/rp_filter", "0");
        }
        node.set_sysctl("ipv4/ip_forward", "1");
        node.set_sysctl("ipv6/conf/all/forwarding", "1");
        let world = Self { client, node, server, hook };
        world.link(&world.client, "to-client", "10.0.1", "2001:db8:1::");
        world.link(&world.server, "to-server", "10.0.3", "2001:db8:3::");
        world.node.ip("route add default via 10.0.3.2\nroute add default via 2001:db8:3::2");
        world
    }

    /// Links a host to the node, which gets the address .1 of both networks and the host .2.
    pub fn link(&self, host: &Netns, name: &str, v4: &str, v6: &str) {
        let path = host.path();
        // Without link-local addresses nobody looks for routers or neighbours, whom everybody knows: the links
        // are silent.
        self.node.ip(&format!(
            "link add {name} address {NODE_MAC} type veth peer name to-node address {HOST_MAC} netns {path}
             link set {name} addrgenmode none
             address add {v4}.1/24 dev {name}
             address add {v6}1/64 dev {name} nodad
             link set {name} up
             neighbour add {v4}.2 lladdr {HOST_MAC} dev {name} nud permanent
             neighbour add {v6}2 lladdr {HOST_MAC} dev {name} nud permanent"
        ));
        host.ip(&format!(
            "link set to-node addrgenmode none
             address add {v4}.2/24 dev to-node
             address add {v6}2/64 dev to-node nodad
             link set to-node up
             neighbour add {v4}.1 lladdr {NODE_MAC} dev to-node nud permanent
             neighbour add {v6}1 lladdr {NODE_MAC} dev to-node nud permanent
             route add default via {v4}.1
             route add default via {v6}1"
        ));
    }

    /// Starts an agent that captures the client's side, and waits until it steers.
    pub fn agent(&self, routes: &[&str]) -> Agent {
        self.agent_at("to-client", routes)
    }

    /// Starts an agent that captures what matches, and waits until it steers.
    pub fn agent_at(&self, interfaces: &str, routes: &[&str]) -> Agent {
        let mut command = self.node.command(BINARY);
        command.args(run_arguments(self.hook, interfaces, routes));
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        agent
    }

    /// Starts an agent that captures the client's side, with more arguments, and waits until it steers.
    pub fn agent_with(&self, routes: &[&str], arguments: &[&str]) -> Agent {
        let mut command = self.node.command(BINARY);
        command.args(run_arguments(self.hook, "to-client", routes)).args(arguments);
        let agent = Agent::spawn(command);
        agent.wait_until_ready();
        agent
    }

    /// Starts the proxy, transparent, in both families.
    pub fn proxy(&self) -> [Server; 2] {
        FAMILIES.map(|family| self.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT))))
    }

    /// Starts a listener on the node that answers with the name `proxy`.
    pub fn serve_proxy(&self, listener: Listener) -> Server {
        listener.serve(&self.node, "proxy")
    }

    /// Starts an ordinary server on the server's host that listens in both families.
    pub fn real_server(&self, port: u16) -> [Server; 2] {
        FAMILIES.map(|family| Listener::ordinary((family.server(), port)).serve(&self.server, "server"))
    }
}

impl Drop for World {
    /// After a failure shows how things stand in the node.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for command in ["ip -br address", "ip rule", "ip -6 rule", "ss -tlnp", "bpftool net"] {
            let (_, output, complaint) = self.node.try_output(command);
            eprintln!("node# {command}\n{output}{complaint}");
        }
        for netns in [&self.client, &self.node, &self.server] {
            eprintln!("{}: nsenter --net={}", netns.name(), netns.path());
        }
        // To look around, let the failing test wait.
        if env::var_os("REDIRECTOR_HOLD").is_some() {
            eprintln!("REDIRECTOR_HOLD is set: the namespaces stay until this process is interrupted");
            thread::park();
        }
    }
}
