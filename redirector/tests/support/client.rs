//! Clients.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, Netns, server::NOT_TRACKED};

/// What a client learned from a connection.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answered.
    pub name: String,
    /// The server's own address, as the server sees it.
    pub destination: SocketAddr,
    /// The client, as the server sees it.
    pub peer: SocketAddr,
    /// What SO_ORIGINAL_DST gives the server; nothing where the connection is not tracked.
    pub original: Option<SocketAddr>,
    /// The client, as it sees itself.
    pub client: SocketAddr,
}

/// A connection that stays open.
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// What the server said at the beginning.
    pub answer: Answer,
}

/// Connects, and asks who is there.
pub fn ask(netns: &Netns, to: SocketAddr) -> io::Result<Answer> {
    Connection::open(netns, to).map(|connection| connection.answer)
}

/// Opens a connection, which nobody need take for it to be open.
pub fn connect(netns: &Netns, to: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let stream = netns.run(|| TcpStream::connect_timeout(&to, within))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Begins to connect, from an address and port that need not be the host's, and waits for nothing. What reads or
/// writes there waits until it is connected.
pub fn begin(netns: &Netns, from: SocketAddr, to: SocketAddr) -> TcpStream {
    netns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("open a socket");
        let transparent = if to.is_ipv4() {
            socket.set_ip_transparent_v4(true)
        } else {
            socket.set_ip_transparent_v6(true)
        };
        transparent.expect("be free to bind to any address");
        socket.set_reuse_address(true).expect("share the port with connections that have ended");
        socket.bind(&from.into()).unwrap_or_else(|error| panic!("bind to {from}: {error}"));
        socket.set_nonblocking(true).expect("not wait");
        let error = socket.connect(&to.into()).expect_err("no answer is so fast");
        assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "connect to {to}: {error}");
        socket.set_nonblocking(false).expect("wait from here on");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
        stream.set_write_timeout(Some(DEADLINE)).expect("set a time-out");
        stream
    })
}

impl Connection {
    /// Connects, and asks who is there.
    pub fn open(netns: &Netns, to: SocketAddr) -> io::Result<Self> {
        Self::greet(connect(netns, to, DEADLINE)?)
    }

    /// Asks who is there, on a stream that is connected.
    pub fn greet(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        let client = stream.local_addr()?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let answer = Answer::read(&line, client)
            .ok_or_else(|| io::Error::other(format!("the connection ended in {line:?}")))?;
        Ok(Self { stream, answer })
    }

    /// Ends it at once, by a reset.
    pub fn abort(self) {
        let socket = SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).expect("have it closed by a reset");
    }

    /// Sends bytes and asserts that they come back.
    #[track_caller]
    pub fn assert_echoes(&mut self) {
        self.send();
        self.assert_comes_back();
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self) {
        let Answer { name, client, .. } = &self.answer;
        let sent = client.to_string().into_bytes();
        self.stream.get_mut().write_all(&sent).unwrap_or_else(|error| panic!("write to {name}: {error}"));
    }

    /// Asserts that the bytes come back that were sent.
    #[track_caller]
    pub fn assert_comes_back(&mut self) {
        let Answer { name, client, .. } = &self.answer;
        let sent = client.to_string().into_bytes();
        let mut received = vec![0; sent.len()];
        self.stream.read_exact(&mut received).unwrap_or_else(|error| panic!("read from {name}: {error}"));
        assert_eq!(received, sent, "what {name} sent back");
    }
}

impl Connection {
    /// Sends so many bytes, no two pieces of which are alike, and asserts that they come back.
    #[track_caller]
    pub fn assert_echoes_much(&mut self, length: usize) {
        let sent: Vec<u8> = (0..length as u64 / 8).flat_map(u64::to_ne_bytes).collect();
        let mut received = vec![0; sent.len()];
        let mut writer = self.stream.get_ref().try_clone().expect("share the socket");
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&sent).expect("write to the server"));
            self.stream.read_exact(&mut received).expect("read from the server");
        });
        assert!(received == sent, "{length} bytes come back as they were sent");
    }
}

impl Answer {
    /// Reads a server's greeting.
    pub fn read(line: &str, client: SocketAddr) -> Option<Self> {
        let [name, destination, peer, original] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            destination: destination.parse().ok()?,
            peer: peer.parse().ok()?,
            original: if original == NOT_TRACKED { None } else { Some(original.parse().ok()?) },
            client,
        })
    }
}
