//! The other side: what the commands ask of a running agent.

use std::{
    io::ErrorKind,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::UnixStream, time::timeout};

use super::SOCKET;
use crate::failure::{Exit, Failure};

/// How long an agent may take, which itself gives up before.
const PATIENCE: Duration = Duration::from_secs(120);

/// A way to the agent that has this state directory.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// What an agent answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP's number for how it went.
    pub status: u16,
    /// The document.
    pub document: Value,
}

impl Client {
    /// A client of the agent with this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { socket: state_dir.join(SOCKET), patience: PATIENCE }
    }

    /// The same, with less patience.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks, and waits for the document of an answer that is not an error.
    ///
    /// # Errors
    ///
    /// No agent answers, or it does not do what is asked.
    pub fn ask(&self, method: Method, path: &str, document: Option<Vec<u8>>) -> Result<Value, Failure> {
        self.try_ask(method, path, document)?.result(|_| None)
    }

    /// Asks, and waits for an answer, which may be an error's.
    ///
    /// # Errors
    ///
    /// No agent answers.
    pub fn try_ask(&self, method: Method, path: &str, document: Option<Vec<u8>>) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("prepare to ask the agent")?;
        let asked =
            runtime.block_on(async { timeout(self.patience, self.send(method, path, document)).await });
        asked.unwrap_or_else(|_| Err(self.slow()))
    }

    /// Asks for what has no end, and hands each line of it to `take` until that has seen enough, or until Ctrl-C.
    ///
    /// # Errors
    ///
    /// No agent answers, it does not do what is asked, or it ends.
    pub fn watch(&self, path: &str, take: impl FnMut(&str) -> ControlFlow<()>) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("prepare to ask the agent")?;
        runtime.block_on(async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => Ok(()),
                watched = self.receive(path, take) => watched,
            }
        })
    }

    async fn receive(
        &self,
        path: &str,
        mut take: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let response = timeout(self.patience, self.request(Method::GET, path, None)).await;
        let response = response.unwrap_or_else(|_| Err(self.slow()))?;
        if !response.status().is_success() {
            return self.answer(response).await?.result(|_| None).map(drop);
        }
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| self.broken(error))?.into_data() else { continue };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if take(String::from_utf8_lossy(&line[..end]).as_ref()).is_break() {
                    return Ok(());
                }
            }
        }
        Err(Failure::new(Exit::Unreachable, anyhow!("the agent at {} ended", self.socket.display())))
    }

    async fn send(&self, method: Method, path: &str, document: Option<Vec<u8>>) -> Result<Answer, Failure> {
        self.answer(self.request(method, path, document).await?).await
    }

    async fn answer(&self, response: Response<Incoming>) -> Result<Answer, Failure> {
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|error| self.broken(error))?.to_bytes();
        let document = serde_json::from_slice(&bytes).with_context(|| {
            format!("read the answer of the agent at {} (HTTP status {status})", self.socket.display())
        })?;
        Ok(Answer { status, document })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        document: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let broken = |error| self.broken(error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the sender.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "redirector")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(document.unwrap_or_default())))
            .context("write the request")?;
        sender.send_request(request).await.map_err(broken)
    }

    fn broken(&self, error: hyper::Error) -> Failure {
        let error = anyhow!(error).context(format!("ask the agent at {}", self.socket.display()));
        Failure::new(Exit::Unreachable, error).hint("it may have ended meanwhile")
    }

    fn slow(&self) -> Failure {
        let error = anyhow!("the agent did not answer within {} s", self.patience.as_secs());
        Failure::new(Exit::TimedOut, error).hint("what was asked may be done yet: look before you ask again")
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::PermissionDenied => {
                Failure::new(Exit::NotPermitted, anyhow!("connect to the agent at {socket}: {error}"))
                    .hint("run it as root, or as a member of the socket's group")
            }
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Failure::new(Exit::Unreachable, anyhow!("no agent serves {socket}"))
                    .hint("`redirector run` starts one; --state-dir says where another one is")
            }
            _ => Failure::new(Exit::Unreachable, anyhow!("connect to the agent at {socket}: {error}")),
        }
    }
}

impl Answer {
    /// The document, or the failure that it tells. `place` knows where a route of this name was read, as a text.
    ///
    /// # Errors
    ///
    /// The agent did not do what was asked.
    pub fn result(self, place: impl Fn(&str) -> Option<String>) -> Result<Value, Failure> {
        let exit = match StatusCode::from_u16(self.status).unwrap_or_default() {
            status if status.is_success() => return Ok(self.document),
            StatusCode::FORBIDDEN => Exit::NotPermitted,
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Exit::TimedOut,
            StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
            StatusCode::TOO_MANY_REQUESTS => Exit::No,
            StatusCode::INTERNAL_SERVER_ERROR => Exit::Kernel,
            _ => Exit::Invalid,
        };
        let error = &self.document["error"];
        let message = error["message"].as_str().unwrap_or("the agent does not say why");
        let mut lines = vec![message.to_owned()];
        for detail in error["details"].as_array().into_iter().flatten() {
            // What says no more than the whole is not said twice.
            lines.extend(detail["message"].as_str().filter(|detail| *detail != message).map(str::to_owned));
            let routes = detail["routes"].as_array().into_iter().flatten();
            lines.extend(routes.filter_map(|name| place(name.as_str()?)));
        }
        let failure = Failure::new(exit, anyhow!(lines.join("\n")));
        Err(match error["code"].as_str() {
            Some("exists") => failure.hint("`redirector route apply` replaces routes"),
            // What else there is not, the agent itself says what there is of it.
            Some("not-found") if error["details"].as_array().is_some_and(|details| !details.is_empty()) => failure.hint(
                "`redirector route list` shows what there is; only routes of the origin api are changed so",
            ),
            Some("not-permitted") => failure.hint("run it as root, or as a member of the socket's group"),
            Some("timed-out") => failure.hint("`redirector route list` shows whether it was done"),
            _ => failure,
        })
    }
}

/// A route's name as a part of a path.
pub fn escape(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
