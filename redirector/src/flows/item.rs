//! What is told: a connection, or that some were not told of.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use redirector_common::{Family, Protocol, Reason, Verdict, entries::FlowEvent};
use serde::Serialize;

use crate::{
    datapath::{FlowReader, RouteFacts, RouteTarget},
    sys,
};

/// One of what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A new connection.
    Flow(Flow),
    /// So many were not told of by the programs.
    Lost {
        /// For they were more than there may be in a second.
        rate: u64,
        /// For the buffer was full.
        full: u64,
    },
    /// So many items the watcher did not take in time.
    Behind {
        /// How many.
        items: u64,
    },
}

/// A new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// When its first packet came.
    pub time: SystemTime,
    /// Name of the interface that it came in by, or its number if it is gone.
    pub interface: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Who opened it.
    pub source: SocketAddr,
    /// Where it wanted to go.
    pub destination: SocketAddr,
    /// What it got.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Name of the route that decided, if one did.
    pub route: Option<String>,
    /// Where it was led, if it was: a proxy's address, or an interface.
    pub target: Option<String>,
    /// Whether no route even names its port.
    pub is_unnamed: bool,
}

#[derive(Serialize)]
struct FlowDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    time: String,
    interface: &'a str,
    protocol: &'static str,
    source: SocketAddr,
    destination: SocketAddr,
    verdict: &'static str,
    reason: &'static str,
    route: Option<&'a str>,
    target: Option<&'a str>,
}

#[derive(Serialize)]
struct LostDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    lost: u64,
    cause: &'static str,
}

impl Item {
    /// The documents that say it, each of which has the version if it stands alone.
    pub fn documents(&self, alone: bool) -> Vec<serde_json::Value> {
        let version = alone.then_some(1);
        let lost = |lost: u64, cause| {
            (lost > 0)
                .then(|| serde_json::to_value(LostDocument { version, lost, cause }).unwrap_or_default())
        };
        match self {
            Self::Flow(flow) => vec![flow.document(version)],
            Self::Lost { rate, full } => lost(*rate, "rate").into_iter().chain(lost(*full, "full")).collect(),
            Self::Behind { items } => lost(*items, "slow").into_iter().collect(),
        }
    }
}

impl Flow {
    fn document(&self, version: Option<u32>) -> serde_json::Value {
        let document = FlowDocument {
            version,
            time: humantime::format_rfc3339_millis(self.time).to_string(),
            interface: &self.interface,
            protocol: self.protocol.word(),
            source: self.source,
            destination: self.destination,
            verdict: self.verdict.word(),
            reason: self.reason.word(),
            route: self.route.as_deref(),
            target: self.target.as_deref(),
        };
        serde_json::to_value(document).unwrap_or_default()
    }
}

/// The time of day here of a time as documents have it; what is none comes back as it is.
pub fn clock(time: &str) -> String {
    let Ok(parsed) = humantime::parse_rfc3339(time) else { return time.to_owned() };
    let since = parsed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let [hours, minutes, seconds] = sys::local_time(since.as_secs() as i64);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", since.subsec_millis())
}

/// The names of what events speak of, each asked for once.
pub(super) struct Names {
    routes: HashMap<u32, RouteFacts>,
    interfaces: HashMap<u32, String>,
    /// The time when the monotonic clock began.
    began: SystemTime,
}

impl Names {
    pub fn new() -> Self {
        let began = SystemTime::now() - sys::monotonic_clock();
        Self { routes: HashMap::new(), interfaces: HashMap::new(), began }
    }

    /// The connection that an event tells of; nothing if it is of another build.
    pub fn flow(&mut self, reader: &FlowReader, event: &FlowEvent) -> Option<Flow> {
        let family = if event.family == Family::V4 as u8 { Family::V4 } else { Family::V6 };
        let protocol = if event.protocol == Protocol::Tcp as u8 { Protocol::Tcp } else { Protocol::Udp };
        let verdict = Verdict::from_number(event.verdict)?;
        let (route, target) = match event.route {
            FlowEvent::NO_ROUTE | FlowEvent::NO_PORT => (None, None),
            slot => {
                let facts = reader.route(slot, &mut self.routes).clone();
                let target = match facts.target {
                    RouteTarget::Proxy(proxy) if verdict == Verdict::Steered => {
                        Some(SocketAddr::new(proxy.address(family).ip(family), proxy.port).to_string())
                    }
                    RouteTarget::Interface(index) if verdict == Verdict::Forwarded => {
                        Some(self.interface(index))
                    }
                    _ => None,
                };
                (Some(facts.name), target)
            }
        };
        Some(Flow {
            time: self.began + Duration::from_nanos(event.time),
            interface: self.interface(event.ifindex),
            protocol,
            source: SocketAddr::new(event.source.ip(family), event.source_port),
            destination: SocketAddr::new(event.destination.ip(family), event.destination_port),
            verdict,
            reason: Reason::from_number(event.reason)?,
            route,
            target,
            is_unnamed: event.route == FlowEvent::NO_PORT,
        })
    }

    fn interface(&mut self, index: u32) -> String {
        let name = || sys::interface_name(index).unwrap_or_else(|| index.to_string());
        self.interfaces.entry(index).or_insert_with(name).clone()
    }
}
