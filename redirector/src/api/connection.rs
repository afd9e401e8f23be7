//! One connection, and what it may take.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::UnixStream, sync::watch, time::timeout};

use super::error::ApiError;

/// What clients may take, all of them together or each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time.
    pub connections: usize,
    /// How long the head of a request may take, and how long a connection may lie idle.
    pub head: Duration,
    /// How long the body of a request may take.
    pub body: Duration,
    /// How long the agent may take to answer.
    pub answer: Duration,
    /// How old a connection may become, whatever it does: who does not read what is answered holds its place so long.
    pub age: Duration,
    /// How long requests that are being answered when the server ends have left.
    pub grace: Duration,
    /// Longest document, in bytes: about as many routes as there may be by default.
    pub document: usize,
    /// Bytes of documents that are read at a time.
    pub documents: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            age: Duration::from_secs(150),
            grace: Duration::from_secs(1),
            document: 32 << 20,
            documents: 40 << 20,
        }
    }
}

/// Serves one connection to its end, or to the end of the server: then it answers what is asked already, and nothing more. Who is
/// refused gets that as the answer to whatever it asks, once.
pub(super) async fn serve(
    stream: UnixStream,
    router: Router,
    refused: Option<ApiError>,
    bounds: Bounds,
    mut stopped: watch::Receiver<()>,
) {
    /// Most bytes of a request's head; a name in it has 63, and three times so many where it is escaped.
    const HEAD: usize = 16 << 10;
    let is_refused = refused.is_some();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| answer(router.clone(), refused.clone(), request, bounds));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if is_refused { Duration::from_secs(1) } else { bounds.head })
        .keep_alive(!is_refused)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let serve = async {
        tokio::select! {
            result = connection.as_mut() => return result,
            // The sender is dropped.
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    // A client that breaks off, or takes too long, is nobody's concern but its own.
    let _ = timeout(if is_refused { Duration::from_secs(2) } else { bounds.age }, serve).await;
}

async fn answer(
    router: TowerToHyperService<Router>,
    refused: Option<ApiError>,
    request: Request<Incoming>,
    bounds: Bounds,
) -> Result<Response, Infallible> {
    use hyper::service::Service as _;
    if let Some(error) = refused {
        return Ok(error.into_response());
    }
    match timeout(bounds.body + bounds.answer, router.call(request)).await {
        Ok(answer) => answer,
        Err(_) => Ok(ApiError::agent_is_slow().into_response()),
    }
}
