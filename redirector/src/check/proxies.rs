//! The proxies that the routes lead to.

use redirector_common::{Reason, entries::ProxyEntry};

use super::kernel::Capabilities;
use crate::{
    datapath::Listening,
    failure::Failure,
    finding::{Finding, Level},
    proxies::{Probe, probe},
};

/// Asks the kernel for each listener: the four things that it has to be, or a line that all are.
pub fn look(proxies: &[ProxyEntry], capabilities: &Capabilities) -> Vec<Finding> {
    if proxies.is_empty() {
        return vec![Finding::ok("proxy-listening", "no route leads to a proxy")];
    }
    if !capabilities.suffice() {
        return vec![capabilities.not_tried("proxy-listening")];
    }
    match probe(proxies) {
        Ok(probes) => probes.iter().flat_map(findings).collect(),
        Err(error) => vec![Finding::failed("proxy-listening", &Failure::from(error))],
    }
}

/// What is wrong comes by its own id; before that, that the proxy listens.
fn findings(probe: &Probe) -> Vec<Finding> {
    let reason = match probe.listening {
        Listening::Ready => None,
        Listening::Limited(reason) | Listening::No(reason) => Some(reason),
    };
    let ok = |id, what: &str| Finding::ok(id, format!("{}: {what}", probe.address));
    let mut findings = vec![match reason {
        Some(Reason::NoListener) => probe.finding("proxy-listening"),
        _ => ok("proxy-listening", "listening"),
    }];
    if findings[0].level != Level::Ok {
        return findings;
    }
    findings.push(match reason {
        None => ok("proxy-transparent", "transparent"),
        Some(Reason::DeviceBound) => probe.finding("proxy-device-bound"),
        Some(Reason::MptcpListener) => probe.finding("proxy-mptcp"),
        Some(_) => probe.finding("proxy-transparent"),
    });
    findings
}
