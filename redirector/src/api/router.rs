//! The endpoints.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{Method, Uri},
    response::Response,
    routing::{get, post},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    connection::{Bounds, Life},
    document,
    error::{self, ApiError, document_path},
    request::{Document, Parameters, Room},
    stream,
};
use crate::{
    agent::command::{Changed, Ended, Handle, Refused, Request},
    config::{self, Errors, Syntax},
    flows::{Filters, Flows, Item},
    logs,
};

type Answer = Result<Response, ApiError>;

/// What every endpoint has at hand.
#[derive(Clone)]
struct Api {
    agent: Handle,
    flows: Flows,
    room: Room,
    bounds: Bounds,
}

/// The API of an agent.
pub(super) fn router(agent: Handle, flows: Flows, bounds: Bounds) -> Router {
    Router::new()
        .route("/v1/routes", get(list).post(add).put(apply).delete(remove))
        .route("/v1/routes/{name}", get(one).delete(remove_one))
        .route("/v1/interfaces", get(interfaces))
        .route("/v1/status", get(status))
        .route("/v1/explain", get(explain))
        .route("/v1/flows", get(list_flows))
        .route("/v1/flows/watch", get(watch_flows))
        .route("/v1/log", get(log).put(set_log))
        .route("/v1/reload", post(reload))
        .fallback(async |uri: Uri| ApiError::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::no_such_method(method.as_str(), uri.path())
        })
        .with_state(Api { agent, flows, room: Room::new(bounds), bounds })
}

/// Every route, of all origins or of one.
async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    let Parameters { origin, .. } = Parameters::read(query.as_deref(), &["origin"])?;
    let views = api.ask(api.agent.routes()).await?;
    api.aside(move || {
        document::routes(views.iter().filter(|view| origin.is_none_or(|origin| view.origin == origin)))
    })
    .await
}

/// The routes of one name, of which each origin may give one.
async fn one(State(api): State<Api>, Path(name): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let Parameters { origin, .. } = Parameters::read(query.as_deref(), &["origin"])?;
    let mut views = api.ask(api.agent.routes()).await?;
    views.retain(|view| view.route.name == name && origin.is_none_or(|origin| view.origin == origin));
    if views.is_empty() { Err(ApiError::no_such_routes(&[name])) } else { Ok(document::routes(&views)) }
}

/// Adds routes, none of whose names the API has given.
async fn add(State(api): State<Api>, RawQuery(query): RawQuery, body: Body) -> Answer {
    let Parameters { dry_run, .. } = Parameters::read(query.as_deref(), &["dry_run"])?;
    let routes = api.read(body, routes).await?;
    api.change(Request::Add(routes), dry_run).await
}

/// Creates or replaces routes.
async fn apply(State(api): State<Api>, RawQuery(query): RawQuery, body: Body) -> Answer {
    let Parameters { dry_run, replace, .. } = Parameters::read(query.as_deref(), &["dry_run", "replace"])?;
    let routes = api.read(body, routes).await?;
    api.change(if replace { Request::Replace(routes) } else { Request::Apply(routes) }, dry_run).await
}

/// Takes routes away, all of them or none.
async fn remove(State(api): State<Api>, RawQuery(query): RawQuery, body: Body) -> Answer {
    let Parameters { dry_run, .. } = Parameters::read(query.as_deref(), &["dry_run"])?;
    let names = api.read(body, |bytes| config::names(document_path(), bytes)).await?;
    api.change(Request::Remove(names), dry_run).await
}

/// Takes one route away.
async fn remove_one(State(api): State<Api>, Path(name): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let Parameters { dry_run, .. } = Parameters::read(query.as_deref(), &["dry_run"])?;
    api.change(Request::Remove(vec![name]), dry_run).await
}

/// Every interface that is captured.
async fn interfaces(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    Parameters::read(query.as_deref(), &[])?;
    Ok(document::interfaces(&api.ask(api.agent.interfaces()).await?))
}

/// What only the agent knows of how things stand.
async fn status(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    Parameters::read(query.as_deref(), &[])?;
    Ok(document::status(&api.ask(api.agent.status()).await?, api.flows.watchers()))
}

/// Why a connection is, or is not, redirected.
async fn explain(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    let known = ["protocol", "source", "destination", "interface"];
    let question = Parameters::read(query.as_deref(), &known)?.question()?;
    let explanation = api.ask(api.agent.explain(question.clone())).await?;
    Ok(document::explanation(&explanation.map_err(|error| error::unexplained(&question, error))?))
}

/// The last new connections.
async fn list_flows(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    // Of ports that no route names nothing is kept.
    let known = Parameters::FLOWS.map(|name| if name == "all" { "last" } else { name });
    let parameters = Parameters::read(query.as_deref(), &known)?;
    let (filters, last) = (parameters.filters()?, parameters.last()?);
    let flows = api.flows.clone();
    api.aside(move || document::flows(&last_of(&flows.kept(), &filters, last.unwrap_or(usize::MAX)))).await
}

/// New connections as they come, after the last of those before.
async fn watch_flows(
    State(api): State<Api>,
    Extension(life): Extension<Life>,
    RawQuery(query): RawQuery,
) -> Answer {
    let parameters = Parameters::read(query.as_deref(), &Parameters::FLOWS)?;
    let (filters, last) = (parameters.filters()?, parameters.last()?);
    if api.flows.watchers() >= api.bounds.watchers {
        return Err(ApiError::too_many_watch(api.bounds.watchers));
    }
    let (kept, watcher) = api.flows.watch(parameters.all);
    let before = last_of(&kept, &filters, last.unwrap_or(0));
    Ok(stream::answer(before, watcher, filters, life))
}

/// The last of these that somebody wants to see.
fn last_of(kept: &[Arc<Item>], filters: &Filters, last: usize) -> Vec<Arc<Item>> {
    let mut wanted: Vec<_> =
        kept.iter().rev().filter(|item| filters.take(item)).take(last).cloned().collect();
    wanted.reverse();
    wanted
}

/// How much the agent writes to its log.
async fn log(RawQuery(query): RawQuery) -> Answer {
    Parameters::read(query.as_deref(), &[])?;
    Ok(document::log())
}

/// Has it write more or less.
async fn set_log(RawQuery(query): RawQuery) -> Answer {
    let level = Parameters::read(query.as_deref(), &["level"])?.level()?;
    logs::set_level(level);
    Ok(document::log())
}

/// Reads the configuration files again.
async fn reload(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    let Parameters { dry_run, .. } = Parameters::read(query.as_deref(), &["dry_run"])?;
    let changed = api.ask(api.agent.reload(dry_run)).await?.map_err(error::files)?;
    Ok(document::changed(changed, dry_run))
}

fn routes(bytes: Vec<u8>) -> Result<Vec<crate::routes::Route>, Errors> {
    config::routes(document_path(), bytes, Syntax::Json).map(|(routes, _)| routes)
}

impl Api {
    /// Asks the agent, which answers in its turn.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, Ended>>) -> Result<T, ApiError> {
        match timeout(self.bounds.answer, question).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::agent_is_slow()),
        }
    }

    async fn change(&self, request: Request, dry_run: bool) -> Answer {
        let result: Result<Changed, Refused> = self.ask(self.agent.change(request, dry_run)).await?;
        Ok(document::changed(result?, dry_run))
    }

    /// Reads a document.
    async fn read<T: Send + 'static>(
        &self,
        body: Body,
        read: impl FnOnce(Vec<u8>) -> Result<T, Errors> + Send + 'static,
    ) -> Result<T, ApiError> {
        let document = self.room.read(body).await?;
        let read = move || {
            let Document { bytes, _room } = document;
            read(bytes)
        };
        Ok(self.aside(read).await??)
    }

    /// Does what may take long where it keeps no other client waiting.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        // It fails only when the server ends.
        spawn_blocking(work).await.map_err(|_| Ended.into())
    }
}
