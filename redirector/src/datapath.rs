//! The datapath in the kernel: the programs, their maps, and where they are attached.

mod attach;
mod attachments;
mod counters;
mod defunct;
mod end;
mod flows;
mod found;
mod hook;
mod listeners;
mod load;
mod locals;
mod publish;
mod repair;
mod route_names;
mod routes;
mod transparent;
mod trial;

pub use counters::{Counters, RouteTotals};
pub use flows::{FlowReader, RouteFacts, RouteTarget};
pub use found::{BPFFS, Chain, Fill, Found, FoundMaps, FoundRoute, Member, OurProgram, Pin, RouteStats};
pub(crate) use hook::program;
pub use hook::{AttachMode, Hook, has_tcx, is_gone};
pub use listeners::{Learner, ListenerAddress, Listening};
pub use load::{Datapath, Marking, VerifierRefusal};
pub use repair::Repair;
pub use transparent::kernel_has_btf;
