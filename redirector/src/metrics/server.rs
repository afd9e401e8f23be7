//! Serves metrics and health by HTTP, on a thread of its own.
//!
//! Whoever may open a connection may not be trusted to go on: of everything that takes memory or time there is a most.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep, timeout},
};

use super::{encode, health, record::Metrics, snapshot::Snapshot};
use crate::failure::{Exit, Failure};

/// Connections that are served at once; more of them wait to be accepted.
const CONNECTIONS: usize = 64;

/// Texts of `/metrics` that may be on their way at once: each takes as much memory as it is long.
const TEXTS: usize = 4;

/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(2);

/// How long a connection may last: as long as Prometheus waits unless it is told otherwise.
const CONNECTION: Duration = Duration::from_secs(10);

/// Bytes and lines of a request's head. It is the least that the library takes.
const HEAD: usize = 8192;
const HEAD_LINES: usize = 64;

/// The server. It ends when this is dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to serve.
    ///
    /// # Errors
    ///
    /// The address is taken or none of this host.
    pub fn start(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).map_err(|error| {
            let error = anyhow!(error).context(format!("serve metrics at {address}"));
            Failure::new(Exit::No, error)
                .hint("set `metrics.listen` (--metrics-listen) to a port that is free, or to \"off\"")
        })?;
        Ok(Self::spawn(listener, metrics)?)
    }

    fn spawn(listener: TcpListener, metrics: Arc<Metrics>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        // The thread is in the network namespace of the one that starts it.
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || run(&runtime, listener, metrics, stopped))
            .context("start the thread that serves metrics")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if the thread has ended, which is what is wanted.
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(runtime: &Runtime, listener: TcpListener, metrics: Arc<Metrics>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {}
            result = accept(listener, metrics) => {
                if let Err(error) = result {
                    tracing::error!("serve metrics: {error:#}");
                }
            }
        }
    });
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (connections, texts) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Semaphore::new(TEXTS)));
    loop {
        let place = connections.clone().acquire_owned().await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Answers { metrics: metrics.clone(), texts: texts.clone() };
                tokio::spawn(async move {
                    let _place = place;
                    // What breaks a connection is its client's to notice.
                    let _ = timeout(CONNECTION, converse(stream, answers)).await;
                });
            }
            // No descriptor is left, most likely: one may be by and by.
            Err(error) => {
                tracing::warn!("accept a connection for metrics: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, answers: Answers) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answers.to(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .max_headers(HEAD_LINES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

struct Answers {
    metrics: Arc<Metrics>,
    texts: Arc<Semaphore>,
}

const PLAIN: &str = "text/plain; charset=utf-8";

impl Answers {
    fn to(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !["/metrics", "/livez", "/readyz"].contains(&path) {
            return answer(
                StatusCode::NOT_FOUND,
                PLAIN,
                "there are /metrics, /livez and /readyz\n".to_owned(),
            );
        }
        if method != Method::GET && method != Method::HEAD {
            let said = "only GET and HEAD\n".to_owned();
            let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, said);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/livez" => health(health::live(self.metrics.since_beat())),
            "/readyz" => health(health::ready(self.metrics.stage())),
            _ => match self.texts.clone().try_acquire_owned() {
                Ok(place) => self.scrape(place),
                Err(_) => {
                    let said = "others read the metrics and have not come to an end\n".to_owned();
                    answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, said)
                }
            },
        }
    }

    fn scrape(&self, place: OwnedSemaphorePermit) -> Response<Full<Bytes>> {
        match Snapshot::take(&self.metrics).and_then(|snapshot| Ok(encode::encode(snapshot)?)) {
            Ok(text) => {
                let text = Bytes::from_owner(Text { text, _place: place });
                answer(StatusCode::OK, encode::CONTENT_TYPE, text)
            }
            Err(error) => {
                tracing::warn!("read the metrics: {error:#}");
                answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error:#}\n"))
            }
        }
    }
}

/// A text of `/metrics`, which keeps its place until it is written or nobody reads it any more.
struct Text {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

fn health((well, said): (bool, String)) -> Response<Full<Bytes>> {
    answer(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, PLAIN, said)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
