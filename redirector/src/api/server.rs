//! The server's thread.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::{
    net::UnixListener,
    sync::{Semaphore, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    connection::{self, Bounds},
    error::ApiError,
    peer,
    router::router,
    socket::Socket,
};
use crate::{agent::command::Handle, flows::Flows, state::State};

/// The API as it is served. When this is dropped its socket and the connections on which nothing is asked go at once, what is
/// being answered is answered or ends within a second, and nothing of it is left.
pub struct Server {
    socket: Socket,
    flows: Flows,
    /// Told by being dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the agent at the other end of the handle, and reads what the programs tell of flows.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound, or the thread not be made.
    pub fn start(state: &State, agent: Handle, flows: Flows) -> Result<Self> {
        Self::start_within(state, agent, flows, Bounds::default())
    }

    pub(super) fn start_within(state: &State, agent: Handle, flows: Flows, bounds: Bounds) -> Result<Self> {
        let socket = Socket::bind(state)?;
        let listener = socket.listener.try_clone().context("share the API's socket")?;
        let path = socket.path.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Large documents are read there, beside what others ask.
            .max_blocking_threads(2)
            .build()
            .context("prepare the API's thread")?;
        let (stop, stopped) = oneshot::channel();
        let of_server = flows.clone();
        let serve = move || {
            runtime.block_on(async {
                tokio::spawn(read(flows.clone()));
                match UnixListener::from_std(listener) {
                    Ok(listener) => {
                        accept(&listener, &path, router(agent, flows, bounds), bounds, stopped).await
                    }
                    Err(error) => tracing::warn!("serve the API: {error}"),
                }
            });
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("api".to_owned()).spawn(serve);
        let thread = thread.context("start the API's thread")?;
        Ok(Self { socket, flows: of_server, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it is served.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket.path);
        self.flows.end();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said what it died of.
            let _ = thread.join();
        }
    }
}

/// Reads what the programs tell, before they find no room for more.
async fn read(flows: Flows) {
    loop {
        flows.read();
        tokio::select! {
            () = sleep(flows.pause()) => {}
            () = flows.watched() => {}
        }
    }
}

/// Takes connections until it is told to stop, and then waits for those that there are.
async fn accept(
    listener: &UnixListener,
    path: &std::path::Path,
    router: Router,
    bounds: Bounds,
    mut stopped: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut refusals = Refusals::default();
    let (stop, stopping) = watch::channel(());
    loop {
        // Who finds no place waits in the kernel's queue, and then is refused there.
        let place = tokio::select! {
            _ = &mut stopped => break,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                rest(&error).await;
                continue;
            }
        };
        let refused = peer::check(&stream, path).err().map(|peer| {
            let who = peer.map_or("somebody unknown".to_owned(), |peer| peer.to_string());
            refusals.say(&who);
            ApiError::not_permitted(&who)
        });
        let (router, stopping) = (router.clone(), stopping.clone());
        tokio::spawn(async move {
            connection::serve(stream, router, refused, bounds, stopping).await;
            drop(place);
        });
    }
    drop(stop);
    let all = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
    // Whatever is not answered by then never will be.
    let _ = timeout(bounds.grace, places.acquire_many(all)).await;
}

/// Without descriptors or memory the next attempt would fail at once too.
async fn rest(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    tracing::warn!("take a connection to the API: {error}");
    sleep(Duration::from_millis(100)).await;
}

/// Says who was refused, not so often that it fills the log.
#[derive(Default)]
struct Refusals {
    said: Option<Instant>,
    unsaid: usize,
}

impl Refusals {
    fn say(&mut self, who: &str) {
        const PAUSE: Duration = Duration::from_secs(1);
        if self.said.is_some_and(|said| said.elapsed() < PAUSE) {
            self.unsaid += 1;
            return;
        }
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            more => format!(", and {more} more before"),
        };
        tracing::info!(
            "api: refused {who}{more}: neither root, nor the agent's user, nor of the socket's group"
        );
        self.said = Some(Instant::now());
    }
}
