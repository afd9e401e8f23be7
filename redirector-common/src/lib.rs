//! What both sides share: the entries of the maps, the reasons and verdicts, and the route look-up.
//!
//! Byte order: a `[u8; N]` is in wire order, a `u16` or `u32` is in host order. There is no third form.
#![no_std]

pub mod entries;
pub mod flow;
pub mod lookup;
pub mod reason;

pub use flow::{Address, Family, Flow, Protocol};
pub use reason::{Reason, Verdict};
