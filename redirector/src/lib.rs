//! The agent of the redirector: routes, the datapath, and what both leave on the host.

pub mod agent;
pub mod config;
pub mod datapath;
pub mod failure;
pub mod host;
pub mod routes;
pub mod settings;
mod sys;
