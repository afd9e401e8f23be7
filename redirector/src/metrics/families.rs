//! Every metric: its name, type, unit and labels, and what it says.

use prometheus_client::{metrics::MetricType, registry::Unit};

/// What is said of a metric, in `/metrics` and in docs/metrics.md.
pub struct Family {
    /// Without unit and suffix.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricType,
    /// What it is in.
    pub unit: Option<Unit>,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Whether it may change.
    pub stability: Stability,
    /// One sentence.
    pub help: &'static str,
}

/// Whether a name or a label may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Not without a new major version.
    Stable,
    /// With any version.
    Beta,
}

impl Family {
    /// The name that its samples have, up to what a histogram adds.
    pub fn sample(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        format!("{}{}{suffix}", self.name, unit.unwrap_or_default())
    }
}

/// Defines the families, and the list of all of them.
macro_rules! families {
    ($($id:ident: $kind:ident $name:literal $unit:expr, $labels:expr, $stability:ident, $help:literal;)+) => {
        $(pub static $id: Family = Family {
            name: $name,
            kind: MetricType::$kind,
            unit: $unit,
            labels: &$labels,
            stability: Stability::$stability,
            help: $help,
        };)+

        /// All of them, in the order in which they are written.
        pub static ALL: &[&Family] = &[$(&$id,)+];
    };
}

families! {
    PACKETS: Counter "redirector_packets" None, ["verdict", "reason"], Stable,
        "Packets that captured interfaces received.";
    BYTES: Counter "redirector" Some(Unit::Bytes), ["verdict", "reason"], Stable,
        "Bytes of these packets, with their link-layer headers.";
    CONNECTIONS: Counter "redirector_connections" None, ["route", "verdict"], Stable,
        "New connections that a route decided, and datagrams of UDP that no connected socket had.";
    STEERED_LOST: Counter "redirector_steered_lost" None, ["route"], Stable,
        "Connections that were steered and never reached the proxy: a firewall dropped them, most likely.";
    ROUTE_TARGET_AVAILABLE: Gauge "redirector_route_target_available" None, ["route"], Stable,
        "Whether the route's proxy listens, in one family at least, or its interface is up.";
    PROXY_LISTENING: Gauge "redirector_proxy_listening" None, ["address", "protocol"], Stable,
        "Whether a proxy has a listener at this address that connections can be steered to.";
    ROUTES: Gauge "redirector_routes" None, ["origin"], Stable,
        "Routes, by who gave them.";
    ROUTES_LEFT_OUT: Gauge "redirector_routes_left_out" None, [], Beta,
        "Routes that are in no metric with the label route, because there are too many.";
    INTERFACES: Gauge "redirector_interfaces" None, ["state"], Stable,
        "Interfaces that the settings name, by what came of it.";
    PROGRAMS_ATTACHED: Gauge "redirector_programs_attached" None, ["hook"], Stable,
        "Places at which a program of ours is attached.";
    MAP_ENTRIES: Gauge "redirector_map_entries" None, ["map"], Stable,
        "Entries in a map whose room is a setting.";
    MAP_CAPACITY: Gauge "redirector_map_capacity" None, ["map"], Stable,
        "Entries that the map has room for.";
    FLOW_EVENTS_LOST: Counter "redirector_flow_events_lost" None, ["cause"], Stable,
        "New connections that `redirector flow` was not told of.";
    REPAIRS: Counter "redirector_repairs" None, ["what"], Stable,
        "Things of ours that somebody had changed and that are as they were again.";
    RECONCILE_DURATION: Histogram "redirector_reconcile_duration" Some(Unit::Seconds), [], Stable,
        "How long it took to look for what others changed and to repair it.";
    PROPAGATION_DELAY: Histogram "redirector_propagation_delay" Some(Unit::Seconds), ["origin"], Stable,
        "From when a change of routes was seen until the maps were written.";
    RELOAD_SUCCESSFUL: Gauge "redirector_config_last_reload_successful" None, [], Stable,
        "Whether the files were right when they were last read; if not, the routes before are in force.";
    RELOAD_TIMESTAMP: Gauge "redirector_config_last_reload_success_timestamp" Some(Unit::Seconds), [], Stable,
        "When the files were last read and right, in Unix time.";
    BUILD: Info "redirector_build" None, ["version"], Stable,
        "The agent's build.";
    PROCESS_CPU: Counter "process_cpu" Some(Unit::Seconds), [], Stable,
        "CPU time of the agent, in user mode and in the kernel.";
    PROCESS_RESIDENT: Gauge "process_resident_memory" Some(Unit::Bytes), [], Stable,
        "Memory of the agent that is in RAM.";
    PROCESS_START: Gauge "process_start_time" Some(Unit::Seconds), [], Stable,
        "When the agent started, in Unix time.";
    PROCESS_FDS: Gauge "process_open_fds" None, [], Stable,
        "File descriptors that the agent has open.";
}
