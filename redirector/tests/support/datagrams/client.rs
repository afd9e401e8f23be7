//! Clients of UDP, and the claims that tests make of datagrams.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use super::super::{
    DEADLINE, Netns, QUIET, World,
    world::{FAMILIES, PROXY_PORT},
};
use super::{Datagrams, MOST, Receiver, answers::answer};

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

    /// Sends a datagram, unless the socket was told of an error meanwhile: that is told now, and nothing is sent.
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).map(drop)
    }

    /// Has the kernel cut what is sent into datagrams of so many bytes, as late as it can (UDP_SEGMENT).
    pub fn set_segment(&self, size: i32) {
        setsockopt(&self.socket, UdpGsoSegment, &size).expect("set UDP_SEGMENT");
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
