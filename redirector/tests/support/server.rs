//! Servers. Each says its name to whoever connects, with the two addresses that it sees, and then sends back what
//! it gets: who answered, and as whom, is what tests of redirection are about.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Netns;

/// How to listen.
#[derive(Clone)]
pub struct Listener {
    address: SocketAddr,
    transparent: bool,
    dual_stack: bool,
    shares_port: bool,
    mptcp: bool,
    device: Option<&'static str>,
    closes: bool,
}

impl Listener {
    /// As a proxy does: transparent.
    pub fn proxy(address: impl Into<SocketAddr>) -> Self {
        Self { transparent: true, ..Self::ordinary(address) }
    }

    /// As any server does.
    pub fn ordinary(address: impl Into<SocketAddr>) -> Self {
        Self {
            address: address.into(),
            transparent: false,
            dual_stack: false,
            shares_port: false,
            mptcp: false,
            device: None,
            closes: false,
        }
    }

    /// With IP_TRANSPARENT or without.
    pub fn transparent(self, transparent: bool) -> Self {
        Self { transparent, ..self }
    }

    /// Takes IPv4 as well, by an IPv6 socket.
    pub fn dual_stack(self) -> Self {
        Self { dual_stack: true, ..self }
    }

    /// Shares the port with others (SO_REUSEPORT).
    pub fn sharing_port(self) -> Self {
        Self { shares_port: true, ..self }
    }

    /// Listens by MPTCP.
    pub fn by_mptcp(self) -> Self {
        Self { mptcp: true, ..self }
    }

    /// Takes only what comes by this device (SO_BINDTODEVICE).
    pub fn on_device(self, name: &'static str) -> Self {
        Self { device: Some(name), ..self }
    }

    /// Closes each connection itself, after one request, and serves one after the other.
    pub fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// Listens in a namespace.
    pub fn serve(self, netns: &Netns, name: &str) -> Server {
        let socket = self.listen_in(netns);
        let server = Arc::new(Serving {
            socket,
            name: name.to_owned(),
            accepted: AtomicUsize::new(0),
            streams: Mutex::new(Vec::new()),
        });
        let accepting = server.clone();
        let thread = thread::spawn(move || accepting.accept(self.closes));
        Server { server, thread: Some(thread) }
    }

    /// Listens in a namespace, and leaves what comes to the caller, who waits for it no longer than for any event.
    pub fn listen_in(&self, netns: &Netns) -> Socket {
        let socket = netns.run(|| self.listen());
        socket.unwrap_or_else(|error| panic!("listen at {}: {error}", self.address))
    }

    fn listen(&self) -> io::Result<Socket> {
        let protocol = if self.mptcp { Protocol::MPTCP } else { Protocol::TCP };
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, Some(protocol))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(self.shares_port)?;
        socket.bind_device(self.device.map(str::as_bytes))?;
        if self.address.is_ipv6() {
            socket.set_only_v6(!self.dual_stack)?;
            socket.set_ip_transparent_v6(self.transparent)?;
        } else {
            socket.set_ip_transparent_v4(self.transparent)?;
        }
        socket.bind(&self.address.into())?;
        socket.listen(1024)?;
        Ok(socket)
    }
}

/// A running server. Dropping it closes the listener, then its connections.
pub struct Server {
    server: Arc<Serving>,
    thread: Option<JoinHandle<()>>,
}

struct Serving {
    socket: Socket,
    name: String,
    accepted: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
}

impl Server {
    /// Connections that it has accepted.
    pub fn accepted(&self) -> usize {
        self.server.accepted.load(Ordering::SeqCst)
    }

    /// Ends listening by shutdown(2): the socket stays open.
    pub fn shut_down(&self) {
        self.server.socket.shutdown(Shutdown::Both).expect("shut a listener down");
    }

    /// Ends it and waits until it is gone.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread that accepts. It fails if the listener was shut down before.
        let _ = self.server.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's thread ends");
        }
        for stream in self.server.streams.lock().expect("no thread panics with the lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Serving {
    /// Until the listener is shut down.
    fn accept(self: Arc<Self>, closes: bool) {
        while let Ok((socket, _)) = self.socket.accept() {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            let stream = TcpStream::from(socket);
            // What breaks a connection is its client's to notice.
            if closes {
                let _ = self.answer_once(stream);
                continue;
            }
            if let Ok(clone) = stream.try_clone() {
                self.streams.lock().expect("no thread panics with the lock").push(clone);
            }
            let server = self.clone();
            thread::spawn(move || server.converse(stream));
        }
    }

    fn answer_once(&self, mut stream: TcpStream) -> io::Result<()> {
        BufReader::new(&stream).read_line(&mut String::new())?;
        stream.write_all(self.greeting(&stream)?.as_bytes())
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.write_all(self.greeting(&stream)?.as_bytes())?;
        let mut bytes = [0; 4096];
        loop {
            match stream.read(&mut bytes)? {
                0 => return stream.shutdown(Shutdown::Both),
                length => stream.write_all(&bytes[..length])?,
            }
        }
    }

    /// The name, getsockname(), getpeername() and SO_ORIGINAL_DST.
    fn greeting(&self, stream: &TcpStream) -> io::Result<String> {
        let [local, peer] = [stream.local_addr()?, stream.peer_addr()?].map(canonical);
        let original = original_destination(stream, local.is_ipv4())?;
        let original = original.map_or(NOT_TRACKED.to_owned(), |original| original.to_string());
        Ok(format!("{} {local} {peer} {original}\n", self.name))
    }
}

/// What stands in a greeting where the kernel does not track the connection.
pub const NOT_TRACKED: &str = "untracked";

/// What connection tracking holds for the original destination, if it knows of the connection.
fn original_destination(stream: &TcpStream, v4: bool) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(stream);
    let original = if v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    match original {
        Ok(address) => Ok(address.as_socket()),
        // The second: nothing in this kernel has asked for connection tracking yet.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An IPv4 address that a dual-stack socket shows as an IPv6 one.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
