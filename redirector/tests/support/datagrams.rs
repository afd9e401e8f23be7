//! Servers and clients of UDP. Each server answers a datagram with its name, the two addresses that it sees, and what it got,
//! from the address that the datagram was for: as a transparent proxy does.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4OrigDstAddr, Ipv6OrigDstAddr, UdpGroSegment},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{
    DEADLINE, Netns, QUIET, World,
    world::{FAMILIES, PROXY_PORT},
};

/// More than any datagram has, in bytes.
const MOST: usize = 1 << 16;

/// How to receive datagrams, and to answer them.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    transparent: bool,
    dual_stack: bool,
    shares_port: bool,
    device: Option<&'static str>,
    joined: bool,
    per_client: bool,
}

impl Receiver {
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
            device: None,
            joined: false,
            per_client: false,
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

    /// Takes only what comes by this device (SO_BINDTODEVICE).
    pub fn on_device(self, name: &'static str) -> Self {
        Self { device: Some(name), ..self }
    }

    /// Takes many datagrams of a flow as one (UDP_GRO).
    pub fn joined(self) -> Self {
        Self { joined: true, ..self }
    }

    /// Answers each flow by a socket of its own that is connected to the client, and by which what follows arrives.
    pub fn per_client(self) -> Self {
        Self { per_client: true, ..self }
    }

    /// Receives in a namespace.
    pub fn serve(self, netns: &Netns, name: &str) -> Datagrams {
        let socket = netns.run(|| self.open());
        let socket = socket.unwrap_or_else(|error| panic!("{name}: bind to {}: {error}", self.address));
        let receiving = Arc::new(Receiving {
            socket,
            own: self.address,
            netns: netns.clone(),
            name: name.to_owned(),
            received: AtomicUsize::new(0),
            per_client: self.per_client,
        });
        let serving = receiving.clone();
        let thread = thread::spawn(move || serving.serve());
        Datagrams { receiving, thread: Some(thread) }
    }

    fn open(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(self.shares_port)?;
        socket.bind_device(self.device.map(str::as_bytes))?;
        // Room for all that a test sends before the server's thread runs.
        socket.set_recv_buffer_size(4 << 20)?;
        if self.address.is_ipv6() {
            socket.set_only_v6(!self.dual_stack)?;
            socket.set_ip_transparent_v6(self.transparent)?;
            setsockopt(&socket, Ipv6OrigDstAddr, &true)?;
        } else {
            socket.set_ip_transparent_v4(self.transparent)?;
        }
        if self.address.is_ipv4() || self.dual_stack {
            setsockopt(&socket, Ipv4OrigDstAddr, &true)?;
        }
        setsockopt(&socket, UdpGroSegment, &self.joined)?;
        socket.bind(&self.address.into())?;
        Ok(socket)
    }
}

/// A running server. Dropping it closes its sockets.
pub struct Datagrams {
    receiving: Arc<Receiving>,
    thread: Option<JoinHandle<()>>,
}

struct Receiving {
    socket: Socket,
    own: SocketAddr,
    netns: Netns,
    name: String,
    received: AtomicUsize,
    per_client: bool,
}

impl Datagrams {
    /// Datagrams that it has received.
    pub fn received(&self) -> usize {
        self.receiving.received.load(Ordering::SeqCst)
    }

    /// Connects its socket, which takes nothing from others any more.
    pub fn connect(&self, to: impl Into<SocketAddr>) {
        self.receiving.socket.connect(&to.into().into()).expect("connect a socket of UDP");
    }

    /// Ends it and waits until it is gone.
    pub fn stop(self) {}
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        // Wakes the thread, and says so that it fails: nobody is connected (net/ipv4/af_inet.c, inet_shutdown).
        let _ = self.receiving.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's thread ends");
        }
    }
}

impl Receiving {
    /// Until the socket is shut down.
    fn serve(&self) {
        let mut answering: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut connected = Vec::new();
        let mut bytes = vec![0; MOST];
        while let Some(Received { length, peer, destination, segment }) = self.receive(&mut bytes) {
            // One of no bytes is one too.
            for at in (0..length.max(1)).step_by(segment) {
                let datagram = &bytes[at..length.min(at + segment)];
                self.received.fetch_add(1, Ordering::SeqCst);
                let answer = answer(&self.name, destination, peer, datagram);
                if self.per_client {
                    let socket = self.netns.run(|| answering_socket(destination, Some(peer)));
                    let socket =
                        socket.unwrap_or_else(|error| panic!("answer {peer} as {destination}: {error}"));
                    socket.send(answer.as_bytes()).expect("answer by a connected socket");
                    connected.push(Connected::serve(socket, self.name.clone(), destination, peer));
                    continue;
                }
                if destination == self.own {
                    let _ = self.socket.send_to(answer.as_bytes(), &peer.into());
                    continue;
                }
                let socket = answering.entry(destination).or_insert_with(|| {
                    let socket = self.netns.run(|| answering_socket(destination, None));
                    socket.unwrap_or_else(|error| panic!("answer as {destination}: {error}"))
                });
                // That nobody is there any more is nothing to a server.
                let _ = socket.send_to(answer.as_bytes(), peer);
            }
        }
    }

    fn receive(&self, bytes: &mut [u8]) -> Option<Received> {
        let mut control = nix::cmsg_space!(libc::sockaddr_in6, libc::sockaddr_in, i32);
        let mut room = [IoSliceMut::new(bytes)];
        let fd = self.socket.as_raw_fd();
        let message = loop {
            match recvmsg::<SockaddrStorage>(fd, &mut room, Some(&mut control), MsgFlags::empty()) {
                Ok(message) => break message,
                // An answer that could not be delivered is told by an error of the socket.
                Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EINTR) => {}
                Err(error) => panic!("{}: receive: {error}", self.name),
            }
        };
        let length = message.bytes;
        let (mut destination, mut segment) = (None, length.max(1));
        for control in message.cmsgs().expect("room for all control messages") {
            match control {
                ControlMessageOwned::Ipv4OrigDstAddr(to) => {
                    let address = Ipv4Addr::from(to.sin_addr.s_addr.to_ne_bytes());
                    destination = Some(SocketAddrV4::new(address, u16::from_be(to.sin_port)).into());
                }
                ControlMessageOwned::Ipv6OrigDstAddr(to) => {
                    let address = Ipv6Addr::from(to.sin6_addr.s6_addr);
                    destination = Some(SocketAddrV6::new(address, u16::from_be(to.sin6_port), 0, 0).into());
                }
                ControlMessageOwned::UdpGroSegments(size) => segment = usize::try_from(size).expect("a size"),
                _ => {}
            }
        }
        // Nothing, and for nobody, is the end.
        let Some(destination) = destination else {
            assert_eq!(length, 0, "the kernel gives the original destination of a datagram");
            return None;
        };
        let peer = message.address.and_then(|address| standard(&address)).expect("a datagram has a sender");
        Some(Received { length, peer, destination, segment })
    }
}

struct Received {
    length: usize,
    peer: SocketAddr,
    destination: SocketAddr,
    /// Length of each datagram, where several were joined.
    segment: usize,
}

/// A socket of a proxy that is connected to a client.
struct Connected {
    socket: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

impl Connected {
    fn serve(socket: UdpSocket, name: String, destination: SocketAddr, peer: SocketAddr) -> Self {
        let own = socket.try_clone().expect("share a socket");
        let thread = thread::spawn(move || {
            let mut bytes = vec![0; MOST];
            // Its shutdown ends it, and so does the client's end.
            while let Ok(length @ 1..) = own.recv(&mut bytes) {
                let answer = answer(&format!("{name}'s"), destination, peer, &bytes[..length]);
                if own.send(answer.as_bytes()).is_err() {
                    break;
                }
            }
        });
        Self { socket, thread: Some(thread) }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        // It is connected, unless the client's end was told.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the connected socket's thread ends");
        }
    }
}

/// A transparent socket by which a proxy speaks as an address that may be another's.
fn answering_socket(own: SocketAddr, peer: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(own), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    if own.is_ipv6() {
        socket.set_ip_transparent_v6(true)?;
    } else {
        socket.set_ip_transparent_v4(true)?;
    }
    socket.bind(&own.into())?;
    if let Some(peer) = peer {
        socket.connect(&peer.into())?;
    }
    Ok(socket.into())
}

fn answer(name: &str, destination: SocketAddr, peer: SocketAddr, datagram: &[u8]) -> String {
    format!("{name} {destination} {peer} {} {}", datagram.len(), digest(datagram))
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn standard(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().to_canonical(), v6.port()));
    v4.or_else(v6)
}

/// A client's socket, which is connected: it takes an answer from the address that it asks only, and hears of errors.
pub struct Client {
    socket: UdpSocket,
    /// Itself, as it sees itself.
    pub address: SocketAddr,
    /// Whom it asks.
    pub to: SocketAddr,
}

impl Client {
    /// A socket of a namespace.
    pub fn new(netns: &Netns, to: impl Into<SocketAddr>) -> Self {
        let to = to.into();
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = netns.run(|| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            io::Result::Ok(socket)
        });
        let socket = socket.unwrap_or_else(|error| panic!("a socket to {to}: {error}"));
        socket.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
        let address = socket.local_addr().expect("a connected socket has an address");
        Self { socket, address, to }
    }

    /// Sends a datagram.
    #[track_caller]
    pub fn send(&self, datagram: &[u8]) {
        let sent = self.socket.send(datagram).unwrap_or_else(|error| panic!("send to {}: {error}", self.to));
        assert_eq!(sent, datagram.len());
    }

    /// Has the kernel cut what is sent into datagrams of so many bytes, as late as it can (UDP_SEGMENT).
    pub fn set_segment(&self, size: i32) {
        setsockopt(&self.socket, nix::sys::socket::sockopt::UdpGsoSegment, &size).expect("set UDP_SEGMENT");
    }

    /// The next answer, whatever it says.
    pub fn receive(&self) -> io::Result<String> {
        let mut bytes = vec![0; MOST];
        let length = self.socket.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// The next answer, which says of the datagram that it is this one: who gives it.
    pub fn answer_to(&self, datagram: &[u8]) -> io::Result<String> {
        let said = self.receive()?;
        let (name, rest) = said.split_once(' ').unwrap_or_default();
        let expected = answer(name, self.to, self.address, datagram);
        assert_eq!(said, expected, "what {name} sees, and {rest}");
        Ok(name.to_owned())
    }

    /// Asks, and says who answers as the one that was asked, seeing the client's own address.
    pub fn ask(&self) -> io::Result<String> {
        let question = format!("who is {}?", self.to);
        self.socket.send(question.as_bytes())?;
        self.answer_to(question.as_bytes())
    }
}

impl World {
    /// Starts the proxy of UDP, transparent, in both families.
    pub fn datagram_proxy(&self) -> [Datagrams; 2] {
        FAMILIES.map(|family| self.receive(Receiver::proxy((family.loopback(), PROXY_PORT))))
    }

    /// Starts a receiver on the node that answers with the name `proxy`.
    pub fn receive(&self, receiver: Receiver) -> Datagrams {
        receiver.serve(&self.node, "proxy")
    }

    /// Asserts that a datagram of the client is answered by the server of this name, which sees its destination as the original
    /// one, and answers from there.
    #[track_caller]
    pub fn assert_datagram_reaches(&self, to: impl Into<SocketAddr>, name: &str) {
        self.assert_datagram_reaches_from(&self.client, to, name);
    }

    /// Asserts the same of one from another namespace.
    #[track_caller]
    pub fn assert_datagram_reaches_from(&self, from: &Netns, to: impl Into<SocketAddr>, name: &str) {
        let client = Client::new(from, to);
        let answers = client.ask().unwrap_or_else(|error| panic!("{} does not answer: {error}", client.to));
        assert_eq!(answers, name, "who answers at {}", client.to);
    }

    /// Asserts that a datagram of the client is refused: its socket is told.
    #[track_caller]
    pub fn assert_datagram_refused(&self, to: impl Into<SocketAddr>) {
        assert_datagram_refused(&Client::new(&self.client, to));
    }

    /// Asserts that a datagram of the client gets no answer of any kind.
    #[track_caller]
    pub fn assert_datagram_silent(&self, to: impl Into<SocketAddr>) {
        let client = Client::new(&self.client, to);
        client.set_patience(QUIET);
        let error = client.ask().expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the answer of {}", client.to);
    }
}

impl Client {
    /// How long an answer is waited for.
    pub fn set_patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).expect("set a time-out");
    }
}

/// Asserts that a datagram of this client is refused: its socket is told.
#[track_caller]
pub fn assert_datagram_refused(client: &Client) {
    let error = client.ask().map(|name| panic!("{name} answers as {}", client.to)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "the answer of {}", client.to);
}
