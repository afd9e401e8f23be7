//! The datapath in the kernel: the programs, their maps, and where they are attached.

mod attach;
mod counters;
mod hook;
mod listeners;
mod load;
mod publish;
mod transparent;

pub use counters::{Counters, RouteTotals};
pub use hook::{AttachMode, Hook};
pub use listeners::Listening;
pub use load::{Datapath, Marking, VerifierRefusal};
