//! What the redirector does: the real binary, real packets, and namespaces for hosts.
//!
//! One crate, so that it is linked once. Each module is a subject; `support` describes the world of the tests.

#[path = "../support/mod.rs"]
mod support;

mod api;
mod api_client;
mod availability;
mod check;
mod churn;
mod cleanup;
mod cli;
mod coexistence;
mod commands;
mod config;
mod container;
mod datagram_routes;
mod datagrams;
mod devices;
mod endings;
mod envoy;
mod explain;
mod fast_open;
mod firewall;
mod flows;
mod following;
mod fragments;
mod interfaces;
mod ipvs;
mod lifecycle;
mod links;
mod listeners;
mod logs;
mod loopback;
mod metrics;
mod monitoring;
mod neighbours;
mod netfilter;
mod next_hops;
mod path_mtu;
mod ranking;
mod reload;
mod repairs;
mod resets;
mod service;
mod serving;
mod simultaneous_open;
mod status;
mod steering;
mod storms;
mod sysctls;
mod tracking;
mod turnover;
mod unreachable;
mod upgrade;
mod version;
mod vlan;
