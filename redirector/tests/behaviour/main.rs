//! What the redirector does: the real binary, real packets, and namespaces for hosts.
//!
//! One crate, so that it is linked once. Each module is a subject; `support` describes the world of the tests.

#[path = "../support/mod.rs"]
mod support;

mod availability;
mod cli;
mod coexistence;
mod envoy;
mod firewall;
mod interfaces;
mod lifecycle;
mod listeners;
mod loopback;
mod netfilter;
mod ranking;
mod steering;
mod sysctls;
mod tracking;
mod turnover;
