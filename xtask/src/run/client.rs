//! The client: asks whoever answers at an address.

use std::{
    io::Read as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// How long a connection, and its answer, may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the client learned from an answer.
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

/// Sends a datagram from the calling thread's namespace and reads the answer, which must come from where it went.
pub fn query(to: SocketAddr) -> Result<Answer> {
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = socket.context("bind")?;
    socket.connect(to).context("connect")?;
    socket.set_read_timeout(Some(DEADLINE)).context("set a time-out")?;
    socket.send(b"who is there?").context("send a query")?;
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).context("read the answer")?;
    let line = String::from_utf8_lossy(&bytes[..length]).into_owned();
    Ok(Answer { client: socket.local_addr().context("read the client's address")?, line })
}
