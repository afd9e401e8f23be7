//! How routes and interfaces stand, for those who ask.

use anyhow::Result;
use redirector_common::entries::RouteKind;

use super::{
    command::{InterfaceView, RouteView, StatusView},
    report,
    routes::Routes,
};
use crate::{
    datapath::{Datapath, ListenerAddress, Listening},
    host::{self, Link},
    metrics::Metrics,
    routes::{Origin, Proxy, Route, Target, live::Slot, proxy_entry},
};

/// Every route, by origin and name.
pub fn routes(routes: &Routes, datapath: &mut Datapath) -> Result<Vec<RouteView>> {
    let mut views = Vec::new();
    for (slot, Slot { origin, route, entry }) in routes.live.routes() {
        let totals = datapath.route_totals(slot)?;
        let is_proxy = entry.kind == RouteKind::Proxy as u8;
        views.push(RouteView {
            origin: *origin,
            route: (**route).clone(),
            available: available(datapath, route, entry.target)?,
            connections: totals.connections,
            unavailable: totals.unavailable,
            lost: if is_proxy { totals.connections.saturating_sub(totals.taken) } else { 0 },
            overridden: routes.live.overrides(slot),
        });
    }
    views.sort_by(|a, b| (a.origin, &a.route.name).cmp(&(b.origin, &b.route.name)));
    Ok(views)
}

/// Whether a target takes connections now.
fn available(datapath: &mut Datapath, route: &Route, slot: u32) -> Result<Option<Result<(), String>>> {
    match &route.target {
        Target::Pass | Target::Drop => Ok(None),
        Target::Interface(hop) => {
            let up = datapath.next_hop_is_up(slot);
            Ok(Some(if up { Ok(()) } else { Err(format!("{} is down, or there is none", hop.interface)) }))
        }
        Target::Proxy(at) => {
            let proxy = Proxy { protocol: route.protocol, at: *at };
            let mut wrong = Vec::new();
            for address in ListenerAddress::of(&proxy_entry(&proxy)) {
                match datapath.learn(slot, address)? {
                    Listening::Ready => {}
                    Listening::Limited(reason) | Listening::No(reason) => {
                        wrong.push(format!("{address}: {}", report::what(address.protocol, reason)));
                    }
                }
            }
            Ok(Some(if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }))
        }
    }
}

/// What only the agent knows.
pub fn status(routes: &Routes, metrics: &Metrics) -> StatusView {
    let origins = Origin::ALL.into_iter().map(|origin| (origin, routes.live.count(origin)));
    StatusView { routes: origins.collect(), repaired: metrics.repairs() }
}

/// Every interface that is captured.
pub fn interfaces(datapath: &Datapath) -> Result<Vec<InterfaceView>> {
    let names = host::interfaces()?;
    let views = datapath.attachments().map(|(index, hook, link)| InterfaceView {
        index,
        name: names
            .iter()
            .find(|interface| interface.index == index)
            .map_or_else(|| "?".to_owned(), |interface| interface.name.clone()),
        hook: hook.to_string(),
        program: crate::datapath::program(link).to_owned(),
        link: match link {
            Link::Ethernet => "ethernet",
            Link::BridgePort(_) => "bridge-port",
            Link::Layer3 => "layer3",
        },
    });
    Ok(views.collect())
}
