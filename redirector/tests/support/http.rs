//! A client of HTTP that hides nothing: bytes out, bytes in.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::{DEADLINE, Netns, client::connect};

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its headers, the names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What follows them.
    pub body: String,
}

/// Sends a request without a body, and reads the answer to its end.
pub fn request(netns: &Netns, to: SocketAddr, method: &str, path: &str) -> io::Result<Response> {
    exchange(netns, to, format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
}

/// Sends these bytes, and reads the answer to its end.
pub fn exchange(netns: &Netns, to: SocketAddr, bytes: &[u8]) -> io::Result<Response> {
    let mut stream = connect(netns, to, DEADLINE)?;
    // A server that answers before it has read everything may have closed by now.
    let _ = stream.write_all(bytes);
    read(&mut stream)
}

/// Reads an answer to its end.
pub fn read(stream: &mut TcpStream) -> io::Result<Response> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            // As above: what it said before stands.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    let answer = String::from_utf8(answer).map_err(io::Error::other)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Ok(Response {
        status: status.ok_or_else(|| io::Error::other(format!("no status: {head:?}")))?,
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    })
}
