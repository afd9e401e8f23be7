//! The commands: one file each.

pub mod check;
pub mod cleanup;
pub mod completion;
pub mod run;
pub mod status;
pub mod version;
