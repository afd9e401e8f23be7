//! What is answered.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use redirector_common::Reason;
use serde::Serialize;

use crate::{
    agent::command::{Changed, InterfaceView, RouteView, StatusView},
    config::RouteWords,
    explain::{Explanation, Outcome, Program, Step},
    flows::Item,
    logs,
};

#[derive(Serialize)]
struct Routes<'a> {
    version: u32,
    routes: Vec<RouteDocument<'a>>,
}

#[derive(Serialize)]
struct RouteDocument<'a> {
    origin: &'static str,
    /// In the words of the configuration.
    route: RouteWords<'a>,
    /// As on the command line.
    text: String,
    /// Null for a target that always takes connections.
    available: Option<bool>,
    /// What is wrong with the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    connections: u64,
    unavailable: u64,
    lost: u64,
    overridden: Vec<OverrideDocument<'a>>,
}

#[derive(Serialize)]
struct OverrideDocument<'a> {
    both: &'a str,
    origin: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct Interfaces<'a> {
    version: u32,
    interfaces: Vec<InterfaceDocument<'a>>,
}

#[derive(Serialize)]
struct InterfaceDocument<'a> {
    index: u32,
    name: &'a str,
    hook: &'a str,
    program: &'a str,
    link: &'a str,
}

#[derive(Serialize)]
struct ChangedDocument {
    version: u32,
    dry_run: bool,
    added: Vec<String>,
    replaced: Vec<String>,
    removed: Vec<String>,
    /// Settings that a restart would change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restart: Vec<&'static str>,
}

/// Routes as they stand.
pub(super) fn routes<'a>(views: impl IntoIterator<Item = &'a RouteView>) -> Response {
    let routes = views.into_iter().map(|view| RouteDocument {
        origin: view.origin.word(),
        route: RouteWords::from(&view.route),
        text: view.route.to_string(),
        available: view.available.as_ref().map(Result::is_ok),
        problem: view.available.as_ref().and_then(|available| available.as_ref().err()).map(String::as_str),
        connections: view.connections,
        unavailable: view.unavailable,
        lost: view.lost,
        overridden: view
            .overridden
            .iter()
            .map(|by| OverrideDocument { both: &by.both, origin: by.origin.word(), name: &by.name })
            .collect(),
    });
    json(StatusCode::OK, &Routes { version: 1, routes: routes.collect() })
}

/// Captured interfaces.
pub(super) fn interfaces(views: &[InterfaceView]) -> Response {
    let interfaces = views.iter().map(|view| InterfaceDocument {
        index: view.index,
        name: &view.name,
        hook: &view.hook,
        program: &view.program,
        link: view.link,
    });
    json(StatusCode::OK, &Interfaces { version: 1, interfaces: interfaces.collect() })
}

#[derive(Serialize)]
struct Status {
    version: u32,
    /// By origin.
    routes: BTreeMap<&'static str, usize>,
    /// How often, by what.
    repaired: BTreeMap<&'static str, u64>,
    /// Clients that watch flows.
    watchers: u32,
}

#[derive(Serialize)]
struct Log {
    version: u32,
    level: &'static str,
}

#[derive(Serialize)]
struct Flows {
    version: u32,
    flows: Vec<serde_json::Value>,
}

#[derive(Serialize)]
struct ExplanationDocument<'a> {
    version: u32,
    protocol: &'static str,
    source: SocketAddr,
    destination: SocketAddr,
    interface: &'a str,
    steps: Vec<StepDocument<'a>>,
    #[serde(flatten)]
    outcome: OutcomeDocument<'a>,
    /// Null where no program sees the connection.
    program: Option<ProgramDocument<'a>>,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    what: &'a str,
    found: &'a str,
    so: &'a str,
}

#[derive(Serialize)]
struct OutcomeDocument<'a> {
    verdict: &'static str,
    reason: Option<&'static str>,
    route: Option<RouteName<'a>>,
    target: Option<&'a str>,
}

#[derive(Serialize)]
struct RouteName<'a> {
    origin: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct ProgramDocument<'a> {
    name: &'a str,
    agrees: bool,
    #[serde(flatten)]
    outcome: OutcomeDocument<'a>,
}

/// New connections, and between them how many were lost.
pub(super) fn flows(items: &[Arc<Item>]) -> Response {
    let flows: Vec<_> = items.iter().flat_map(|item| item.documents(false)).collect();
    json(StatusCode::OK, &Flows { version: 1, flows })
}

/// What only the agent knows of how things stand.
pub(super) fn status(view: &StatusView, watchers: u32) -> Response {
    let routes = view.routes.iter().map(|(origin, routes)| (origin.word(), *routes)).collect();
    let repaired = view.repaired.iter().copied().collect();
    json(StatusCode::OK, &Status { version: 1, routes, repaired, watchers })
}

/// How much the agent writes to its log.
pub(super) fn log() -> Response {
    json(StatusCode::OK, &Log { version: 1, level: logs::level().word() })
}

/// Why a connection is, or is not, redirected.
pub(super) fn explanation(explanation: &Explanation) -> Response {
    let Explanation { question, steps, outcome, program } = explanation;
    let steps = steps.iter().map(|Step { what, found, so }| StepDocument { what, found, so });
    let program = program.as_ref().map(|Program { name, outcome, agrees }| ProgramDocument {
        name,
        agrees: *agrees,
        outcome: outcome.into(),
    });
    let document = ExplanationDocument {
        version: 1,
        protocol: question.protocol.word(),
        source: question.source,
        destination: question.destination,
        interface: &question.interface,
        steps: steps.collect(),
        outcome: outcome.into(),
        program,
    };
    json(StatusCode::OK, &document)
}

impl<'a> From<&'a Outcome> for OutcomeDocument<'a> {
    fn from(Outcome { verdict, reason, route, target }: &'a Outcome) -> Self {
        Self {
            verdict: verdict.word(),
            reason: reason.map(Reason::word),
            route: route.as_ref().map(|(origin, name)| RouteName { origin: origin.word(), name }),
            target: target.as_deref(),
        }
    }
}

/// What a change did, or would do.
pub(super) fn changed(changed: Changed, dry_run: bool) -> Response {
    let Changed { added, replaced, removed, restart } = changed;
    json(StatusCode::OK, &ChangedDocument { version: 1, dry_run, added, replaced, removed, restart })
}

/// An answer with a document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(mut bytes) => {
            // Its reader may be a person at a terminal.
            bytes.push(b'\n');
            (status, [(CONTENT_TYPE, "application/json")], bytes).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
