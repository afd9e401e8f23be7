//! The admin API of a running agent: HTTP and JSON on a Unix socket in its state directory.
//!
//! [`Server`] has a thread of its own, so that whatever clients do costs the agent no more than the commands that come
//! out of it. `socket` makes the socket, `peer` says who may use it, `connection` bounds what each client can take,
//! `router` has the endpoints, `request` reads what they are given and `document` writes what they answer, or `error`
//! why not; `stream` writes what has no end. [`Client`] is the other side. docs/openapi.json describes all of it to programs, docs/api.md to people.

mod client;
mod connection;
mod document;
mod error;
mod peer;
mod request;
mod router;
mod server;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

pub use client::{Answer, Client, escape};
pub use server::Server;

/// The socket's name in the state directory.
pub const SOCKET: &str = "api.sock";
