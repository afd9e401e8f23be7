//! What is answered.

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use crate::{
    agent::command::{Changed, InterfaceView, RouteView},
    config::RouteWords,
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
