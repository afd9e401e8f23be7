//! The datapath in the kernel: the programs, their maps, and where they are attached.

mod attach;
mod counters;
mod listeners;
mod load;
mod publish;
mod transparent;

pub use attach::{AttachMode, Hook};
pub use counters::{Counters, RouteTotals};
pub use listeners::Listening;
pub use load::{Datapath, Marking, VerifierRefusal};
