//! What the agent reads of the host, and what it leaves there while it runs.

mod addresses;
mod interfaces;
mod lock;
pub mod netfilter;
pub(crate) mod netlink;
mod policy_routing;
pub(crate) mod qdisc;
mod watch;

pub use addresses::addresses;
pub use interfaces::{Interface, interfaces};
pub use lock::Lock;
pub use netfilter::{Netfilter, NetfilterMode};
pub use policy_routing::{PolicyRouting, PolicyRoutingSettings};
pub use watch::Watch;
