//! What can be watched from outside: metrics at `/metrics`, health at `/livez` and `/readyz`.
//!
//! The agent records what it does in [`Metrics`] and goes on; a thread of its own serves them ([`Server`]), so that no
//! scrape, however slow, holds the agent up. What the programs counted is read from the maps at each scrape
//! (`snapshot`), and written in the text format of OpenMetrics (`encode`). `families` describes every metric, once.

mod document;
mod encode;
mod families;
mod health;
mod process;
mod record;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;

pub use document::document;
pub use health::BEAT;
pub use record::{InterfaceState, Metrics, Repaired, Stage};
pub use server::Server;
