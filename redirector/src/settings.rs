//! What an agent is told: every setting, whatever it was read from.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    datapath::AttachMode,
    host::{NetfilterMode, PolicyRoutingSettings},
    routes::{Limits, Origin, PROTECT, Protected, RouteSets},
};

/// Every setting of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interfaces to capture.
    pub interfaces: InterfaceGlobs,
    /// Routes, by who gives them: the command line and the files.
    pub routes: RouteSets,
    /// Kind of hook to attach to.
    pub attach: AttachMode,
    /// How to live with NAT on this host.
    pub netfilter: NetfilterMode,
    /// Mark, table and priority of the rules.
    pub routing: PolicyRoutingSettings,
    /// Ports that no range cuts off.
    pub protect: Vec<Protected>,
    /// Room in the maps.
    pub limits: Limits,
    /// What stays when the agent ends.
    pub on_exit: OnExit,
    /// How often what others changed is repaired.
    pub reconcile: Duration,
    /// Flow events that the kernel sends at most, each second.
    pub events_per_second: u32,
    /// Where the API socket and the last applied routes are.
    pub state_dir: PathBuf,
    /// Where metrics and health are served.
    pub metrics_listen: SocketAddr,
}

/// Names and globs of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceGlobs {
    /// What is captured.
    pub include: Vec<String>,
    /// What is not, though it is included.
    pub exclude: Vec<String>,
}

/// What stays when the agent ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnExit {
    /// Nothing: traffic then goes where it went before.
    #[default]
    Detach,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: InterfaceGlobs::default(),
            routes: RouteSets::from([(Origin::CommandLine, Vec::new()), (Origin::Files, Vec::new())]),
            attach: AttachMode::default(),
            netfilter: NetfilterMode::default(),
            routing: PolicyRoutingSettings::default(),
            protect: PROTECT.iter().filter_map(|text| text.parse().ok()).collect(),
            limits: Limits::default(),
            on_exit: OnExit::default(),
            reconcile: Duration::from_secs(30),
            events_per_second: 1000,
            state_dir: PathBuf::from("/run/redirector"),
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}
