//! Living with NAT on this host.

/// How steered connections are kept out of the hands of NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NetfilterMode {
    /// As `identity` while the host has NAT, nothing while it has none.
    #[default]
    Auto,
    /// Translate each steered connection to the destination it has: the first translation is the only one.
    Identity,
    /// Keep steered connections, and their answers, out of connection tracking.
    Notrack,
    /// Nothing, whatever the host has.
    Off,
}

mod placeholder;

pub use placeholder::{
    dropping_inputs, ipvs_services, mark_users, nat_present, remove_table, table_installed,
};
