//! A client of the API that keeps its connection, as a program would that changes routes often.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::json;

/// A connection to an agent's API.
pub struct Api(RefCell<BufReader<UnixStream>>);

impl Api {
    /// Connects to the agent with this state directory.
    pub fn new(directory: &Path) -> Self {
        let stream = UnixStream::connect(directory.join("api.sock")).expect("connect to the agent");
        Self(RefCell::new(BufReader::new(stream)))
    }

    /// Asks, and reads the answer to its end.
    pub fn ask(&self, method: &str, path: &str, document: &str) {
        let mut stream = self.0.borrow_mut();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: agent\r\nContent-Length: {}\r\n\r\n", document.len());
        stream.get_mut().write_all([head.as_bytes(), document.as_bytes()].concat().as_slice()).expect("ask");
        let (mut status, mut length) = (String::new(), 0);
        stream.read_line(&mut status).expect("read the status");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("read a header");
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).expect("read the answer");
        assert!(status.contains(" 200 "), "{method} {path}: {status}{}", String::from_utf8_lossy(&answer));
    }

    /// Adds a route of one port, and every second time takes it away.
    pub fn toggle(&self, number: usize) {
        match number % 2 {
            0 => self.add("toggled", 9999),
            _ => self.ask("DELETE", "/v1/routes/toggled", ""),
        }
    }

    /// Adds a route of one port to the proxy.
    pub fn add(&self, name: &str, port: u16) {
        let route = json!({ "name": name, "ports": [port], "target": { "proxy": 15001 } });
        self.ask("POST", "/v1/routes", &json!({ "version": 1, "routes": [route] }).to_string());
    }
}
