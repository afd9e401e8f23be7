//! Whether this host can do what routes ask for.

use std::net::IpAddr;

use redirector_common::Protocol;

use crate::{
    agent::command::Refused,
    host,
    routes::{PortRange, Refusal, Route, RouteError, Target, live::Change},
};

/// Refuses what this host cannot do for a route.
pub fn check_targets(changes: &[Change]) -> Result<(), Refused> {
    let routes =
        || changes.iter().flat_map(|change| change.add.iter().map(|route| (change.origin, &**route)));
    let own = own_addresses(routes().map(|(_, route)| route))?;
    let local_ports = local_ports(routes().map(|(_, route)| route))?;
    let wrong: Vec<_> = routes()
        .filter_map(|(origin, route)| {
            let answers = local_ports.map_or(Ok(()), |ports| route.check_answers(ports));
            let error = answers.and_then(|()| check_target(route, &own)).err()?;
            let name = route.name.clone();
            Some(Refusal::Route { origin, name, error })
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Refused::Routes(wrong)) }
}

/// The ports at which answers arrive to this host's own sockets, if any route is of UDP.
fn local_ports<'a>(mut routes: impl Iterator<Item = &'a Route>) -> Result<Option<PortRange>, Refused> {
    if !routes.any(|route| route.protocol == Protocol::Udp) {
        return Ok(None);
    }
    host::local_ports().map(Some).map_err(|error| Refused::Host(format!("{error:#}")))
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

fn check_target(route: &Route, own: &[IpAddr]) -> Result<(), RouteError> {
    let Target::Proxy(proxy) = &route.target else { return Ok(()) };
    let foreign = proxy.addresses().find(|address| !address.is_loopback() && !own.contains(address));
    match foreign {
        None => Ok(()),
        Some(address) => {
            let here: Vec<_> = own.iter().map(ToString::to_string).collect();
            Err(RouteError::new(format!(
                "the proxy's address {address} is not of this host: addresses here: {}",
                here.join(", ")
            )))
        }
    }
}
