//! The commands: one file each.

pub mod agent;
pub mod check;
pub mod cleanup;
pub mod completion;
pub mod explain;
pub mod flow;
pub mod interface;
pub mod log;
pub mod route;
pub mod run;
pub mod status;
pub mod version;
