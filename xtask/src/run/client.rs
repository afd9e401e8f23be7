//! The client: asks whoever answers at an address.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// How long a connection, and its answer, may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the client learned from a connection.
pub struct Answer {
    /// The client's own address and port.
    pub client: SocketAddr,
    /// The line that it was sent.
    pub line: String,
}

/// Connects from the calling thread's namespace and reads the answer.
pub fn ask(to: SocketAddr) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE).context("connect")?;
    stream.set_read_timeout(Some(DEADLINE)).context("set a time-out")?;
    let client = stream.local_addr().context("read the client's address")?;
    let mut line = String::new();
    stream.read_to_string(&mut line).context("read the answer")?;
    Ok(Answer { client, line: line.trim().to_owned() })
}
