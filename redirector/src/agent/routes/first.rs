//! What an agent begins with.

use redirector_common::entries::ProxyEntry;

use super::check_targets;
use crate::{
    agent::command::Refused,
    routes::{
        self, Origin, Protected, RouteSets,
        live::{Change, Delta, Live},
    },
};

/// The routes that an agent begins with, planned before anything of the host is touched.
pub struct First {
    pub(super) live: Live,
    pub(super) delta: Delta,
    pub(super) protect: Vec<Protected>,
}

impl First {
    /// Plans them.
    ///
    /// # Errors
    ///
    /// They are wrong, do not go together, or ask for what this host cannot do.
    pub fn new(sets: RouteSets, protect: Vec<Protected>, limits: routes::Limits) -> Result<Self, Refused> {
        let built_in = routes::built_in(&protect, routes::own_ports(sets.values().flatten()));
        let sets = sets.into_iter().chain([(Origin::BuiltIn, built_in)]);
        let changes: Vec<_> = sets.map(|(origin, routes)| Change::new(origin, Vec::new(), routes)).collect();
        check_targets(&changes)?;
        let mut live = Live::new(limits);
        let delta = live.plan(&changes).map_err(Refused::Routes)?.commit();
        Ok(Self { live, delta, protect })
    }

    /// The proxies that they lead to.
    pub fn proxies(self) -> Vec<ProxyEntry> {
        self.delta.proxies.into_iter().map(|(_, proxy)| proxy).collect()
    }
}
