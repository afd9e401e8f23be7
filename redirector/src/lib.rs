//! The agent of the redirector: routes, the datapath, and what both leave on the host.

pub mod agent;
pub mod api;
pub mod check;
pub mod cleanup;
pub mod config;
pub mod datapath;
pub mod explain;
pub mod failure;
pub mod finding;
pub mod flows;
pub mod host;
pub mod logs;
pub mod metrics;
pub mod proxies;
pub mod routes;
pub mod service;
pub mod settings;
pub mod state;
pub mod status;
mod sys;
