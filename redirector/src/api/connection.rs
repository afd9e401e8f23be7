//! One connection, and what it may take.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

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
    /// How old a connection may become, whatever it does: who does not read what is answered holds its place so long. One
    /// that watches begins anew with each line that it takes.
    pub age: Duration,
    /// How many may watch at a time.
    pub watchers: u32,
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
            watchers: 16,
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
    let life = Life::new(if is_refused { Duration::from_secs(2) } else { bounds.age });
    let of_request = life.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(of_request.clone());
        answer(router.clone(), refused.clone(), request, bounds)
    });
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
    tokio::select! {
        _ = serve => {}
        () = life.ended() => {}
    }
}

/// How long a connection has left.
#[derive(Clone)]
pub(super) struct Life {
    end: Arc<Mutex<Instant>>,
    /// How old it may become.
    pub age: Duration,
}

impl Life {
    fn new(age: Duration) -> Self {
        Self { end: Arc::new(Mutex::new(Instant::now() + age)), age }
    }

    /// Begins it anew.
    pub fn renew(&self) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.age;
    }

    async fn ended(&self) {
        loop {
            let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
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
