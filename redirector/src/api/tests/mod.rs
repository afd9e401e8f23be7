//! The API over its real socket, with an agent that has no datapath.

mod documents;
mod flows;
mod hostile;
mod openapi;
mod peers;
mod requests;
mod round_trip;

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use hyper::Method;
use serde_json::{Value, json};

use super::{Answer, Client, Server, connection::Bounds};
use crate::{agent::command::fake::Fake, flows::Flows, state::State};

/// A server with its agent, and a client of it.
struct Stage {
    server: Option<Server>,
    client: Client,
    directory: PathBuf,
    flows: Flows,
}

/// Bounds that a test can wait for.
fn impatient() -> Bounds {
    let short = Duration::from_millis(300);
    Bounds { head: short, body: short, answer: short, age: 4 * short, ..Bounds::default() }
}

impl Stage {
    fn new() -> Self {
        Self::with(Fake::default(), Bounds::default())
    }

    fn with(fake: Fake, bounds: Bounds) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("redirector-api-{}-{number}", process::id()));
        let state = State::open(&directory).expect("open the state directory");
        let agent = fake.start(&["ssh:10.0.0.0/8:22=pass", "web:10.96.0.0/12:80=proxy:15001 else reset"]);
        let flows = Flows::new(1000);
        let server = Server::start_within(&state, agent, flows.clone(), bounds).expect("start the server");
        let client = Client::new(&directory).patience(Duration::from_secs(20));
        Self { server: Some(server), client, directory, flows }
    }

    #[track_caller]
    fn ask(&self, method: Method, path: &str, document: Option<Value>) -> Answer {
        let document = document.map(|document| document.to_string().into_bytes());
        self.client.try_ask(method, path, document).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Asks, and asserts how it goes.
    #[track_caller]
    fn expect(&self, status: u16, method: Method, path: &str, document: Option<Value>) -> Value {
        let answer = self.ask(method, path, document);
        assert_eq!(answer.status, status, "{:#}", answer.document);
        assert_eq!(answer.document["version"], 1);
        answer.document
    }

    /// Sends bytes as they are, and returns all that comes back until the server closes.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have closed before it has all.
        let _ = stream.write_all(bytes);
        read(stream)
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.join(super::SOCKET)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set the time-out");
        stream
    }

    /// The names of the routes that the API gave.
    fn names(&self) -> Vec<String> {
        let document = self.expect(200, Method::GET, "/v1/routes?origin=api", None);
        let names = document["routes"].as_array().expect("a list").iter();
        names.map(|route| route["route"]["name"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.server.take());
        // That it stays behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn read(mut stream: UnixStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A document of one route.
fn route(name: &str, port: u16) -> Value {
    json!({ "version": 1, "routes": [{ "name": name, "ports": [port], "target": { "proxy": 15001 } }] })
}
