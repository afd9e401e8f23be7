//! Routes: what they are, how they are written, which one wins, and the map entries that say so.
//!
//! A [`Route`] is a name, a match and a target. An [`Origin`] gives a whole set of them. [`compile`] turns
//! the sets of all origins into the entries of the maps, or refuses them with every reason that it finds.
//! Nothing here reads or writes anything outside of its arguments.
//!
//! **Which route wins.** A route expands to *atoms*: one family, protocol, destination prefix, source prefix
//! and port range each. Of the atoms that match a packet the one with the longer destination prefix decides,
//! then the longer source prefix, then the narrower port range, then the earlier origin.
//!
//! **From routes to entries.** An LPM trie gives the longest prefix and cannot be asked for the next, so that
//! everything is decided here, and in the kernel a miss is final. `spaces` gathers ports that the same ranges
//! cover, `nodes` decides each destination prefix within such a space, and `ports` writes both down. What is
//! left to the look-up ([`redirector_common::lookup`]) is to compare a single port with the ranges around it.

mod check;
mod compile;
mod display;
mod error;
mod index;
pub mod live;
mod nodes;
mod origin;
mod parse;
mod parts;
mod ports;
mod refusal;
mod route;
mod spaces;
#[cfg(test)]
mod tests;

pub use check::name as check_name;
pub(crate) use compile::proxy_entry;
pub use compile::{Compiled, Prefix, RouteSets, RouteSlot, compile};
pub(crate) use display::plain;
pub use error::{Part, RouteError};
pub use index::Index;
pub use origin::{Origin, PROTECT, Protected, built_in, own_ports};
pub use parse::GRAMMAR;
pub use parts::prefix;
pub use refusal::{Limits, Refusal, Tie};
pub use route::{NextHop, PortRange, Proxy, ProxyAddress, Route, Target};
#[cfg(test)]
pub(crate) use tests::any_route as random_route;
