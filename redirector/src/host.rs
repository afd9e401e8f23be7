//! What the agent reads of the host, and what it leaves there while it runs.

mod addresses;
mod filters;
mod image;
mod interfaces;
mod lock;
mod lookup;
pub mod netfilter;
pub(crate) mod netlink;
mod notices;
mod policy_routing;
pub(crate) mod qdisc;
mod sockets;
mod udp;
mod watch;

pub use addresses::addresses;
pub use filters::{Direction, Filter, filters};
pub use image::{Change, Image};
pub use interfaces::{Interface, Link, interfaces};
pub use lock::{Lock, Running, running};
pub use lookup::{Connection, connection, listening};
pub use netfilter::{Netfilter, NetfilterMode};
pub use notices::{Notices, Received};
pub use policy_routing::{
    Movable, Order, PolicyRouting, PolicyRoutingSettings, RoutingEntry, choose as choose_numbers,
    routing_entries, rules_before,
};
pub use sockets::connections;
pub use udp::{is_transparent, local_ports};
pub use watch::Watch;
