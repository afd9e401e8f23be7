//! A router between the node and a client, with a smaller MTU in the middle of the path.
//!
//! ```text
//!  far client                     router                          node
//!  10.0.6.2 ── to-router ═══ to-far ── 10.0.6.1  10.0.5.2 ── to-node ═══ to-router ── 10.0.5.1
//! ```

use super::{
    Netns, World,
    world::{HOST_MAC, NODE_MAC},
};

/// The node's interface to the router.
pub const TO_ROUTER: &str = "to-router";

/// The node's routes to the far client.
const ROUTES: [&str; 2] = ["10.0.6.0/24 via 10.0.5.2", "2001:db8:6::/64 via 2001:db8:5::2"];

/// The router, and the client behind it.
pub struct Router {
    pub router: Netns,
    pub far: Netns,
}

impl Router {
    /// Makes them. Each link takes 1500 bytes.
    pub fn new(world: &World) -> Self {
        let [router, far] = ["router", "far client"].map(Netns::new);
        for netns in [&router, &far] {
            netns.set_sysctl("ipv6/conf/default/accept_dad", "0");
            netns.set_sysctl("ipv4/conf/default/rp_filter", "0");
            netns.set_sysctl("ipv4/conf/all/rp_filter", "0");
        }
        router.set_sysctl("ipv4/ip_forward", "1");
        router.set_sysctl("ipv6/conf/all/forwarding", "1");
        world.link(&router, TO_ROUTER, "10.0.5", "2001:db8:5::");
        router.ip(&format!(
            "link add to-far address {NODE_MAC} type veth peer name to-router address {HOST_MAC} netns {}
             link set to-far addrgenmode none
             address add 10.0.6.1/24 dev to-far
             address add 2001:db8:6::1/64 dev to-far nodad
             link set to-far up
             neighbour add 10.0.6.2 lladdr {HOST_MAC} dev to-far nud permanent
             neighbour add 2001:db8:6::2 lladdr {HOST_MAC} dev to-far nud permanent",
            far.path()
        ));
        far.ip(&format!(
            "link set to-router addrgenmode none
             address add 10.0.6.2/24 dev to-router
             address add 2001:db8:6::2/64 dev to-router nodad
             link set to-router up
             neighbour add 10.0.6.1 lladdr {NODE_MAC} dev to-router nud permanent
             neighbour add 2001:db8:6::1 lladdr {NODE_MAC} dev to-router nud permanent
             route add default via 10.0.6.1
             route add default via 2001:db8:6::1"
        ));
        world.node.ip(&ROUTES.map(|route| format!("route add {route}")).join("\n"));
        Self { router, far }
    }

    /// Has the node forget what it has learnt of the path to the far client, which stands with the route.
    pub fn forget_path(&self, world: &World) {
        for change in ["delete", "add"] {
            world.node.ip(&ROUTES.map(|route| format!("route {change} {route}")).join("\n"));
        }
    }

    /// Lets no more than 1280 bytes through to the far client, who sends no more than that but would take 1500.
    pub fn narrow(self) -> Self {
        self.router.ip("link set to-far mtu 1280");
        for (network, gateway, segment) in [("0.0.0.0/0", "10.0.6.1", 1460), ("::/0", "2001:db8:6::1", 1440)]
        {
            self.far.ip(&format!("route replace {network} via {gateway} mtu 1280 advmss {segment}"));
        }
        self
    }
}
