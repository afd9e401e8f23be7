//! Servers of UDP. Each answers a datagram with its name, the two addresses that it sees, and what it got,
//! from the address that the datagram was for: as a transparent proxy does.

mod answers;
mod client;

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4OrigDstAddr, Ipv6OrigDstAddr, UdpGroSegment},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Netns;
use answers::{Connected, answer, answering_socket};
pub use client::{Client, assert_datagram_refused};

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
        // A child of another test, forked a moment ago, has the socket until it runs its own program. Connected to nobody, it takes
        // nothing from the others any more. One that is bound to a device can reach nobody, and no test relies on that.
        let nobody = SocketAddr::new(self.receiving.own.ip(), 9);
        let _ = self.receiving.socket.connect(&nobody.into());
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

fn standard(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().to_canonical(), v6.port()));
    v4.or_else(v6)
}
