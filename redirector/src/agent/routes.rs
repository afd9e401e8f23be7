//! The routes of the running agent: changed as a whole or not at all, and written while packets flow.

mod first;
mod possible;
mod tidy;

use anyhow::{Result, anyhow};
use redirector_common::entries::ProxyEntry;
use tokio::task::JoinHandle;

use super::{
    command::{Changed, Refused, Request},
    report,
};
use crate::{
    datapath::{Datapath, ListenerAddress},
    flows::Flows,
    routes::{
        self, Origin, PortRange, Protected,
        live::{Change, Delta, Live, Unused},
    },
    state::State,
};
pub use first::First;
pub use possible::check_targets;

/// The routes, and what is to go of those that there were.
pub struct Routes {
    pub live: Live,
    /// Where those that the API gives are kept for the next agent.
    pub state: State,
    flows: Flows,
    protect: Vec<Protected>,
    /// Whether ports may be marked as steered whose connections have ended since.
    outlived: bool,
    /// Unused, and no grace period has begun since.
    unused: Unused,
    /// Unused when a grace period began, which this awaits.
    grace: Option<(JoinHandle<()>, Unused)>,
}

impl Routes {
    /// Writes the routes that an agent begins with, and those that the API gave the last agent. If those no longer go with the
    /// others, they are put aside, which is said.
    ///
    /// # Errors
    ///
    /// The kernel refused the routes, or does not let the API's be read.
    pub fn begin(first: First, state: State, flows: Flows, datapath: &mut Datapath) -> Result<Self, Refused> {
        let host = |error| Refused::Host(format!("{error:#}"));
        let First { live, delta, protect } = first;
        datapath.apply(&delta).map_err(|error| Refused::Kernel(format!("{error:#}")))?;
        let mut routes =
            Self { live, state, flows, protect, outlived: true, unused: Unused::default(), grace: None };
        routes.follow_proxies(datapath)?;
        routes.load(datapath).map_err(host)?;
        Ok(routes)
    }

    fn load(&mut self, datapath: &mut Datapath) -> Result<()> {
        let loaded = self.state.journal.load()?;
        if let Some(warning) = loaded.warning {
            tracing::warn!("{warning}");
        }
        if loaded.routes.is_empty() {
            return Ok(());
        }
        let change = Change::new(Origin::Api, Vec::new(), loaded.routes);
        // The journal has them.
        let applied = self.apply(datapath, &[change], |_, _| Ok(()));
        if let Err(refused) = applied {
            let path = self.state.journal.put_aside()?;
            tracing::warn!(
                "the API's routes of the last agent are left out; they are in {} now\n{refused}",
                path.display()
            );
        }
        Ok(())
    }

    /// Changes the routes of origins, in the maps too; or says what that would do.
    ///
    /// # Errors
    ///
    /// It was refused, and everything is as it was.
    pub fn change(
        &mut self,
        datapath: &mut Datapath,
        changes: &[Change],
        dry_run: bool,
    ) -> Result<(Changed, Delta), Refused> {
        let changed = self.compare(changes);
        if dry_run {
            check_targets(changes)?;
            self.live.plan(changes).map_err(Refused::Routes)?;
            return Ok((changed, Delta::default()));
        }
        let delta = self.apply(datapath, changes, Self::keep)?;
        let count = self.live.count(Origin::Api);
        let of_api = self.live.routes().filter(|(_, slot)| slot.origin == Origin::Api);
        // That it failed is no failure of the change.
        report::failed(self.state.journal.compact(count, of_api.map(|(_, slot)| &*slot.route)));
        Ok((changed, delta))
    }

    /// Changes the routes of origins, in the maps too, once `keep` has kept the change.
    fn apply(
        &mut self,
        datapath: &mut Datapath,
        changes: &[Change],
        keep: fn(&mut Self, &[Change]) -> Result<()>,
    ) -> Result<Delta, Refused> {
        check_targets(changes)?;
        let pending = self.grace.is_some() || !self.unused.is_empty();
        if pending && !self.live.has_room_for(changes) {
            self.tidy_now(datapath).map_err(|error| Refused::Kernel(format!("{error:#}")))?;
        }
        let inverse = self.inverse(changes);
        let delta = self.live.plan(changes).map_err(Refused::Routes)?.commit();
        // Kept before it is live: what was once confirmed is not lost by a crash.
        let kept = keep(self, changes);
        let is_kept = kept.is_ok();
        if let Err(error) = kept.and_then(|()| self.write(datapath, &delta)) {
            self.unused.extend(delta.unused);
            if is_kept && concerns_api(changes) {
                report::failed(self.state.journal.take_back());
            }
            // What was written in part is taken back by what it would be without it.
            let back = self.live.plan(&inverse).map(|plan| plan.commit());
            if let Ok(back) = back {
                report::failed(self.write(datapath, &back));
                self.unused.extend(back.unused);
            }
            return Err(Refused::Kernel(format!("{error:#}")));
        }
        self.outlived = true;
        self.unused.extend(delta.unused.clone());
        self.follow_proxies(datapath)?;
        Ok(delta)
    }

    /// What a request of the API changes.
    ///
    /// # Errors
    ///
    /// It names routes that are there, or are not there.
    pub fn requested(&self, request: Request) -> Result<Change, Refused> {
        let origin = Origin::Api;
        let is_there = |name: &str| self.live.slot(origin, name).is_some();
        match request {
            Request::Add(routes) => {
                let names: Vec<_> =
                    routes.iter().map(|route| route.name.clone()).filter(|name| is_there(name)).collect();
                if !names.is_empty() {
                    return Err(Refused::Exists(names));
                }
                Ok(Change::new(origin, Vec::new(), routes))
            }
            Request::Remove(names) => {
                let unknown: Vec<_> = names.iter().filter(|name| !is_there(name)).cloned().collect();
                if !unknown.is_empty() {
                    return Err(Refused::Unknown(unknown));
                }
                Ok(Change::new(origin, names, Vec::new()))
            }
            Request::Apply(routes) => Ok(Change::new(origin, Vec::new(), routes)),
            Request::Replace(routes) => Ok(self.live.replacement(origin, routes)),
        }
    }

    /// Keeps what these changes do to the API's routes for the next agent.
    fn keep(&mut self, changes: &[Change]) -> Result<()> {
        if !concerns_api(changes) {
            return Ok(());
        }
        let of_api = || changes.iter().filter(|change| change.origin == Origin::Api);
        let removed = of_api().flat_map(|change| change.remove.iter().map(String::as_str));
        let added = of_api().flat_map(|change| change.add.iter().map(|route| &**route));
        self.state.journal.append(removed, added)
    }

    /// Writes a change. What is in its way goes first.
    fn write(&mut self, datapath: &mut Datapath, delta: &Delta) -> Result<()> {
        let waiting = self.grace.as_ref().is_some_and(|(_, unused)| unused.is_in_the_way_of(delta));
        if waiting || self.unused.is_in_the_way_of(delta) {
            self.tidy_now(datapath)?;
        }
        datapath.apply(delta)
    }

    /// Keeps the built-in routes at what the proxies of the others ask for.
    fn follow_proxies(&mut self, datapath: &mut Datapath) -> Result<(), Refused> {
        let own = self.live.proxies().filter_map(|(proxy, _)| {
            let port = proxy.at.port;
            Some(Protected { protocol: proxy.protocol, ports: PortRange::new(port, port).ok()? })
        });
        let wanted = routes::built_in(&self.protect, own);
        let change = self.live.replacement(Origin::BuiltIn, wanted);
        let is_same = change.remove.is_empty()
            && change.add.iter().all(|route| self.live.slot(Origin::BuiltIn, &route.name).is_some());
        if is_same {
            return Ok(());
        }
        let delta = self.live.plan(&[change]).map_err(Refused::Routes)?.commit();
        let written = self.write(datapath, &delta);
        self.unused.extend(delta.unused);
        written.map_err(|error| Refused::Kernel(format!("{error:#}")))
    }

    /// What changes do, by name.
    fn compare(&self, changes: &[Change]) -> Changed {
        let mut changed = Changed::default();
        for Change { origin, remove, add } in changes {
            changed.removed.extend(remove.iter().cloned());
            for route in add {
                match self.live.slot(*origin, &route.name).and_then(|slot| self.live.route(slot)) {
                    None => changed.added.push(route.name.clone()),
                    Some(old) if old.route != *route => changed.replaced.push(route.name.clone()),
                    Some(_) => {}
                }
            }
        }
        changed
    }

    /// The changes that take these back.
    fn inverse(&self, changes: &[Change]) -> Vec<Change> {
        let old = |origin: Origin, name: &str| {
            let slot = self.live.route(self.live.slot(origin, name)?)?;
            Some(slot.route.clone())
        };
        let inverse = changes.iter().map(|Change { origin, remove, add }| {
            let names = remove.iter().chain(add.iter().map(|route| &route.name));
            let restored: Vec<_> = names.filter_map(|name| old(*origin, name)).collect();
            let new = add.iter().filter(|route| old(*origin, &route.name).is_none());
            Change { origin: *origin, remove: new.map(|route| route.name.clone()).collect(), add: restored }
        });
        inverse.collect()
    }
}

fn concerns_api(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.origin == Origin::Api)
}

/// Has the kernel look for the listeners of these proxies, and says what it found.
pub fn learn(datapath: &mut Datapath, proxies: impl IntoIterator<Item = (u32, ProxyEntry)>) -> Result<()> {
    for (slot, proxy) in proxies {
        for address in ListenerAddress::of(&proxy) {
            let listening = datapath.learn(slot, address)?;
            report::proxy(address, listening);
        }
    }
    Ok(())
}

/// A refusal as an error, for those who cannot do without.
impl From<Refused> for anyhow::Error {
    fn from(refused: Refused) -> Self {
        anyhow!("{refused}")
    }
}
