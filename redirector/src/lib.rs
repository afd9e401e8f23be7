//! The agent of the redirector: routes, the datapath and what they leave on the host.

pub mod routes;
