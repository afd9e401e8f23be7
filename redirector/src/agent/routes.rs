//! The routes of the running agent: changed as a whole or not at all, and written while packets flow.

use std::net::IpAddr;

use anyhow::{Context as _, Result, anyhow};
use redirector_common::Protocol;
use tokio::task::JoinHandle;

use super::{
    command::{Changed, Refused, Request},
    listener_addresses, report,
};
use crate::{
    datapath::Datapath,
    flows::Flows,
    host,
    routes::{
        self, Origin, PortRange, Protected, Refusal, Route, Target,
        live::{Change, Delta, Live, Unused},
    },
    state::State,
    sys,
};

/// The routes, and what is to go of those that there were.
pub struct Routes {
    pub live: Live,
    /// Where those that the API gives are kept for the next agent.
    pub state: State,
    flows: Flows,
    protect: Vec<Protected>,
    /// Unused, and no grace period has begun since.
    unused: Unused,
    /// Unused when a grace period began, which this awaits.
    grace: Option<(JoinHandle<()>, Unused)>,
}

impl Routes {
    /// No routes yet but those that are built in.
    pub fn new(limits: routes::Limits, protect: &[Protected], state: State, flows: Flows) -> Self {
        let protect = protect.to_vec();
        let live = Live::new(limits);
        Self { live, state, flows, protect, unused: Unused::default(), grace: None }
    }

    /// Begins with the routes of these changes and with those that the API gave the last agent. If those no longer go
    /// with the others, they are put aside, which is said.
    ///
    /// # Errors
    ///
    /// The other routes were refused, or the kernel does not let the API's be read.
    pub fn begin(&mut self, datapath: &mut Datapath, changes: &[Change]) -> Result<Delta, Refused> {
        let host = |error| Refused::Host(format!("{error:#}"));
        let loaded = self.state.load().map_err(host)?;
        if let Some(warning) = loaded.warning {
            tracing::warn!("{warning}");
        }
        if !loaded.routes.is_empty() {
            let api = Change { origin: Origin::Api, remove: Vec::new(), add: loaded.routes };
            match self.change(datapath, &[changes, &[api]].concat(), false) {
                Ok((_, delta)) => return Ok(delta),
                Err(refused) => {
                    let (_, delta) = self.change(datapath, changes, false)?;
                    let path = self.state.put_aside().map_err(host)?;
                    tracing::warn!(
                        "the API's routes of the last agent are left out; they are in {} now\n{refused}",
                        path.display()
                    );
                    return Ok(delta);
                }
            }
        }
        Ok(self.change(datapath, changes, false)?.1)
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
        check_targets(changes)?;
        let changed = self.compare(changes);
        let inverse = self.inverse(changes);
        let plan = self.live.plan(changes).map_err(Refused::Routes)?;
        if dry_run {
            return Ok((changed, Delta::default()));
        }
        let delta = plan.commit();
        // Kept before it is live: what was once confirmed is not lost by a crash.
        if let Err(error) = self.keep(changes).and_then(|()| self.write(datapath, &delta)) {
            self.unused.extend(delta.unused);
            // What was written in part is taken back by what it would be without it.
            let back = self.live.plan(&inverse).map(|plan| plan.commit());
            if let Ok(back) = back {
                report::failed(self.keep(changes));
                report::failed(self.write(datapath, &back));
                self.unused.extend(back.unused);
            }
            return Err(Refused::Kernel(format!("{error:#}")));
        }
        self.unused.extend(delta.unused.clone());
        self.follow_proxies(datapath)?;
        Ok((changed, delta))
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
                Ok(Change { origin, remove: Vec::new(), add: routes })
            }
            Request::Remove(names) => {
                let unknown: Vec<_> = names.iter().filter(|name| !is_there(name)).cloned().collect();
                if !unknown.is_empty() {
                    return Err(Refused::Unknown(unknown));
                }
                Ok(Change { origin, remove: names, add: Vec::new() })
            }
            Request::Apply(routes) => Ok(Change { origin, remove: Vec::new(), add: routes }),
            Request::Replace(routes) => Ok(self.live.replacement(origin, routes)),
        }
    }

    /// Keeps the API's routes for the next agent, if these changes concern them.
    fn keep(&self, changes: &[Change]) -> Result<()> {
        if !changes.iter().any(|change| change.origin == Origin::Api) {
            return Ok(());
        }
        let of_api = self.live.routes().filter(|(_, slot)| slot.origin == Origin::Api);
        let mut routes: Vec<Route> = of_api.map(|(_, slot)| (*slot.route).clone()).collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        self.state.save(&routes)
    }

    /// Writes a change. What is in its way goes first.
    fn write(&mut self, datapath: &mut Datapath, delta: &Delta) -> Result<()> {
        let waiting = self.grace.as_ref().is_some_and(|(_, unused)| unused.is_in_the_way_of(delta));
        if waiting || self.unused.is_in_the_way_of(delta) {
            self.tidy_now(datapath)?;
        }
        datapath.apply(delta)
    }

    /// Waits until what is unused may go, and then until it went. Nothing to do: waits for ever.
    pub async fn tidied(&mut self, datapath: &mut Datapath) -> Result<()> {
        if self.grace.is_none() {
            if self.unused.is_empty() {
                return std::future::pending().await;
            }
            let unused = std::mem::take(&mut self.unused);
            // Not on this thread, which has other things to do.
            let grace = tokio::task::spawn_blocking(|| report::failed(grace_period()));
            self.grace = Some((grace, unused));
        }
        if let Some((grace, _)) = &mut self.grace {
            // Whoever is no longer waited for, for something else came first, is waited for again.
            grace.await.context("wait for a grace period")?;
        }
        match self.grace.take() {
            Some((_, unused)) => self.remove(datapath, &unused),
            None => Ok(()),
        }
    }

    fn tidy_now(&mut self, datapath: &mut Datapath) -> Result<()> {
        grace_period()?;
        if let Some((grace, unused)) = self.grace.take() {
            grace.abort();
            self.remove(datapath, &unused)?;
        }
        let unused = std::mem::take(&mut self.unused);
        self.remove(datapath, &unused)
    }

    fn remove(&mut self, datapath: &mut Datapath, unused: &Unused) -> Result<()> {
        // What they decided is told by their names.
        self.flows.read();
        datapath.remove_unused(unused)?;
        self.live.give_back(unused);
        Ok(())
    }

    /// Keeps the built-in routes at what the proxies of the others ask for.
    fn follow_proxies(&mut self, datapath: &mut Datapath) -> Result<(), Refused> {
        let own = self.live.proxies().filter_map(|(proxy, _)| {
            Some(Protected { protocol: Protocol::Tcp, ports: PortRange::new(proxy.port, proxy.port).ok()? })
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
                    Some(old) if *old.route != *route => changed.replaced.push(route.name.clone()),
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
            Some((*slot.route).clone())
        };
        let inverse = changes.iter().map(|Change { origin, remove, add }| {
            let names = remove.iter().chain(add.iter().map(|route| &route.name));
            let restored: Vec<Route> = names.filter_map(|name| old(*origin, name)).collect();
            let new = add.iter().filter(|route| old(*origin, &route.name).is_none());
            Change { origin: *origin, remove: new.map(|route| route.name.clone()).collect(), add: restored }
        });
        inverse.collect()
    }
}

/// Where the kernel was built without the call, a while does: no packet is so long on its way.
fn grace_period() -> Result<()> {
    match sys::grace_period() {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            std::thread::sleep(std::time::Duration::from_millis(100));
            Ok(())
        }
        result => result.context("wait until no packet is on its way with an older route"),
    }
}

/// Refuses what this host cannot do for a route.
pub fn check_targets(changes: &[Change]) -> Result<(), Refused> {
    let routes = || changes.iter().flat_map(|change| change.add.iter().map(|route| (change.origin, route)));
    let own = own_addresses(routes().map(|(_, route)| route))?;
    let wrong: Vec<_> = routes()
        .filter_map(|(origin, route)| {
            let error = check_target(route, &own).err()?;
            let name = route.name.clone();
            Some(Refusal::Route { origin, name, error })
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Refused::Routes(wrong)) }
}

/// This host's addresses, if any route asks for one.
fn own_addresses<'a>(mut routes: impl Iterator<Item = &'a Route>) -> Result<Vec<IpAddr>, Refused> {
    let asks = |route: &Route| {
        matches!(&route.target, Target::Proxy(proxy)
        if proxy.addresses().any(|address| !address.is_loopback()))
    };
    if !routes.any(asks) {
        return Ok(Vec::new());
    }
    host::addresses().map_err(|error| Refused::Host(format!("{error:#}")))
}

fn check_target(route: &Route, own: &[IpAddr]) -> Result<(), routes::RouteError> {
    if route.protocol == Protocol::Udp {
        return Err(routes::RouteError::new("udp cannot be redirected yet: routes of tcp can"));
    }
    let Target::Proxy(proxy) = &route.target else { return Ok(()) };
    let foreign = proxy.addresses().find(|address| !address.is_loopback() && !own.contains(address));
    match foreign {
        None => Ok(()),
        Some(address) => {
            let here: Vec<_> = own.iter().map(ToString::to_string).collect();
            Err(routes::RouteError::new(format!(
                "the proxy's address {address} is not of this host: addresses here: {}",
                here.join(", ")
            )))
        }
    }
}

/// Has the kernel look for the listeners of proxies that came, and says what it found.
pub fn learn(datapath: &mut Datapath, delta: &Delta) -> Result<()> {
    for (slot, proxy) in &delta.proxies {
        for (family, address) in listener_addresses(proxy) {
            let listening = datapath.learn(*slot, Protocol::Tcp, family)?;
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
