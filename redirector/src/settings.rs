//! What an agent is told: every setting, whatever it was read from.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    config::RoutePlaces,
    datapath::AttachMode,
    host::{Movable, NetfilterMode, PolicyRoutingSettings},
    logs::{Format, Level},
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
    /// Where the files' routes stand, for what is said of them.
    pub route_places: RoutePlaces,
    /// Mark, table and priority of the rules.
    pub routing: PolicyRoutingSettings,
    /// Which of these are only where to begin.
    pub movable: Movable,
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
    pub metrics_listen: MetricsListen,
    /// How much is written to the log at first, and how.
    pub log: (Level, Format),
}

/// Where metrics and health are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere.
    Off,
    /// At an address of the loopback device.
    At(SocketAddr),
}

/// How a number of the rules is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// This one, or the agent does not start.
    Fixed(u32),
    /// The default, or another one where that is taken.
    Auto,
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

impl Settings {
    /// The full names of what is set otherwise here than there, of all that an agent reads only when it starts: so all but routes.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let number = |settings: &Self| {
            let (routing, movable) = (settings.routing, settings.movable);
            [
                (routing.mark, movable.mark),
                (routing.table, movable.table),
                (routing.priority, movable.rule_priority),
            ]
        };
        let ([mark, table, priority], [other_mark, other_table, other_priority]) =
            (number(self), number(other));
        let all = [
            ("interfaces.include", self.interfaces.include != other.interfaces.include),
            ("interfaces.exclude", self.interfaces.exclude != other.interfaces.exclude),
            ("on_exit", self.on_exit != other.on_exit),
            ("attach", self.attach != other.attach),
            ("netfilter", self.netfilter != other.netfilter),
            ("mark", mark != other_mark),
            ("table", table != other_table),
            ("rule_priority", priority != other_priority),
            ("protect", self.protect != other.protect),
            ("limits.routes", self.limits.routes != other.limits.routes),
            ("limits.prefixes", self.limits.prefixes != other.limits.prefixes),
            ("limits.sources", self.limits.sources != other.limits.sources),
            ("limits.proxies", self.limits.proxies != other.limits.proxies),
            ("events.per_second", self.events_per_second != other.events_per_second),
            ("reconcile", self.reconcile != other.reconcile),
            ("state_dir", self.state_dir != other.state_dir),
            ("metrics.listen", self.metrics_listen != other.metrics_listen),
            ("log.level", self.log.0 != other.log.0),
            ("log.format", self.log.1 != other.log.1),
        ];
        all.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect()
    }

    /// Sets the mark.
    pub fn set_mark(&mut self, number: Number) {
        number.set(&mut self.routing.mark, PolicyRoutingSettings::default().mark, &mut self.movable.mark);
    }

    /// Sets the routing table.
    pub fn set_table(&mut self, number: Number) {
        number.set(&mut self.routing.table, PolicyRoutingSettings::default().table, &mut self.movable.table);
    }

    /// Sets the priority of the first rule.
    pub fn set_rule_priority(&mut self, number: Number) {
        let default = PolicyRoutingSettings::default().priority;
        number.set(&mut self.routing.priority, default, &mut self.movable.rule_priority);
    }
}

impl Number {
    fn set(self, number: &mut u32, default: u32, movable: &mut bool) {
        (*number, *movable) = match self {
            Self::Fixed(fixed) => (fixed, false),
            Self::Auto => (default, true),
        };
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: InterfaceGlobs::default(),
            routes: RouteSets::from([(Origin::CommandLine, Vec::new()), (Origin::Files, Vec::new())]),
            attach: AttachMode::default(),
            netfilter: NetfilterMode::default(),
            route_places: RoutePlaces::default(),
            routing: PolicyRoutingSettings::default(),
            movable: Movable::default(),
            protect: PROTECT.iter().filter_map(|text| text.parse().ok()).collect(),
            limits: Limits::default(),
            on_exit: OnExit::default(),
            reconcile: Duration::from_secs(30),
            events_per_second: 1000,
            state_dir: PathBuf::from("/run/redirector"),
            log: Default::default(),
            metrics_listen: MetricsListen::At(SocketAddr::from(([127, 0, 0, 1], 9464))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::TABLES;

    #[test]
    fn every_setting_but_routes_is_told_apart_by_its_full_name() {
        let same = Settings::default();
        assert_eq!(same.differences(&Settings::default()), [""; 0]);
        let other = Settings {
            interfaces: InterfaceGlobs { include: vec!["a".to_owned()], exclude: vec!["b".to_owned()] },
            routes: RouteSets::new(),
            attach: AttachMode::Clsact,
            netfilter: NetfilterMode::Off,
            route_places: RoutePlaces::default(),
            routing: PolicyRoutingSettings { mark: 1, table: 2, priority: 3 },
            movable: Movable::default(),
            protect: Vec::new(),
            limits: Limits { routes: 1, prefixes: 1, sources: 1, proxies: 1 },
            on_exit: OnExit::Detach,
            reconcile: Duration::from_secs(1),
            events_per_second: 1,
            state_dir: PathBuf::from("/"),
            metrics_listen: MetricsListen::Off,
            log: (Level::Trace, Format::Json),
        };
        let mut names = same.differences(&other);
        // It has one value so far.
        names.push("on_exit");
        names.sort_unstable();
        let tables = TABLES.iter().filter(|table| !table.name.starts_with("route"));
        let known = tables.flat_map(|table| table.keys.iter().map(|key| table.full(key)));
        let others = ["version", "route", "interfaces", "limits", "events", "metrics", "log"];
        let mut known: Vec<_> = known.filter(|name| !others.contains(&name.as_str())).collect();
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
