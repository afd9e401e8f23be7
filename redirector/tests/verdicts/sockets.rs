//! The sockets that the programs find: proxies' listeners, and connections in every state that matters.
//!
//! The connections are to an address that the namespace has but `LOCALS` does not: to the programs they are
//! foreign, as those to an original destination are.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use etherparse::{SlicedPacket, TransportSlice};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    packet::{Segment, flag},
    support::{
        DEADLINE, Listener, Netns, Server,
        frames::Wire,
        world::{FAMILIES, Family},
    },
};

/// Where each kind of proxy listens.
pub mod proxy {
    pub const TRANSPARENT: u16 = 15001;
    pub const PLAIN: u16 = 15002;
    pub const MPTCP: u16 = 15003;
    pub const DEVICE: u16 = 15004;
    pub const V4_ONLY: u16 = 15006;
    pub const UDP: u16 = 15053;
    pub const UDP_PLAIN: u16 = 15054;
    pub const UDP_DEVICE: u16 = 15055;
    pub const UDP_V4_ONLY: u16 = 15057;
}

/// Client ports by what there is for them.
pub mod port {
    /// No socket.
    pub const FRESH: u16 = 40000;
    /// A connection.
    pub const ESTABLISHED: u16 = 40001;
    /// A connection that the server closed: TIME_WAIT.
    pub const TIME_WAIT: u16 = 40002;
    /// The answer to the SYN was a cookie.
    pub const COOKIE: u16 = 40003;
    /// The SYN was answered, and nothing more came: SYN_RECV.
    pub const HALF_OPEN: u16 = 40004;
}

/// The address of existing connections.
pub fn taken(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, 10].into(),
        Family::V6 => [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10].into(),
    }
}

/// A client to whom every answer is lost.
pub fn silent(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 9, 2].into(),
        Family::V6 => [0x2001, 0xdb8, 9, 0, 0, 0, 0, 2].into(),
    }
}

/// All that is to stay open while packets are run.
pub struct Sockets {
    servers: Vec<Server>,
    datagrams: Vec<UdpSocket>,
    clients: Vec<TcpStream>,
    /// The last segments of handshakes by SYN cookie, for each family.
    pub cookies: Vec<(Family, Segment)>,
}

impl Sockets {
    /// Makes them in a new namespace, which is that of the calling thread.
    pub fn new(netns: &Netns) -> Self {
        // The far end answers nothing: nobody there has the addresses.
        netns.ip("link add out type veth peer name nowhere
             link set out addrgenmode none
             link set nowhere addrgenmode none
             address add 10.0.1.1/32 dev lo
             address add 10.0.1.2/32 dev lo
             address add 2001:db8:1::1/128 dev lo nodad
             address add 2001:db8:1::2/128 dev lo nodad
             route add local 192.0.2.10/32 dev lo
             route add local 2001:db8:2::10/128 dev lo
             link set out up
             link set nowhere up
             address add 10.0.9.1/24 dev out
             address add 2001:db8:9::1/64 dev out nodad
             neighbour add 10.0.9.2 lladdr 02:00:00:00:00:02 dev out
             neighbour add 2001:db8:9::2 lladdr 02:00:00:00:00:02 dev out");
        // A route alone lets servers bind to an IPv4 address, but not to an IPv6 one.
        netns.set_sysctl("ipv6/ip_nonlocal_bind", "1");
        // Nor does a packet come in with a source of the host's own.
        netns.set_sysctl("ipv4/conf/lo/accept_local", "1");
        for name in ["all", "lo"] {
            netns.set_sysctl(&format!("ipv4/conf/{name}/rp_filter"), "0");
        }
        let mut sockets =
            Self { servers: Vec::new(), datagrams: Vec::new(), clients: Vec::new(), cookies: Vec::new() };
        for family in FAMILIES {
            let at = |port| SocketAddr::new(family.loopback(), port);
            sockets.listen(netns, Listener::proxy(at(proxy::TRANSPARENT)));
            sockets.listen(netns, Listener::ordinary(at(proxy::PLAIN)));
            sockets.listen(netns, Listener::proxy(at(proxy::MPTCP)).by_mptcp());
            sockets.listen(netns, Listener::proxy(at(proxy::DEVICE)).on_device("lo"));
            if family == Family::V4 {
                sockets.listen(netns, Listener::proxy(at(proxy::V4_ONLY)));
            }
            sockets.listen(netns, Listener::ordinary((family.node(), 8080)));
            for port in [8080, 8082, 8088, 8090] {
                sockets.listen(netns, Listener::ordinary((taken(family), port)));
            }
            sockets.listen(netns, Listener::ordinary((taken(family), 8081)).closing());
        }
        for family in FAMILIES {
            sockets.connect(netns, family);
            sockets.receive(family);
        }
        sockets
    }

    fn listen(&mut self, netns: &Netns, listener: Listener) {
        self.servers.push(listener.serve(netns, "server"));
    }

    /// Sockets of UDP: proxies', one that is not connected, and connected ones.
    fn receive(&mut self, family: Family) {
        let own = |port| SocketAddr::new(family.loopback(), port);
        self.datagrams.extend([
            receiver(own(proxy::UDP), true, None),
            receiver(own(proxy::TRANSPARENT), true, None),
            receiver(own(proxy::UDP_PLAIN), false, None),
            receiver(own(proxy::UDP_DEVICE), true, Some("lo")),
            receiver((family.node(), 8380).into(), false, None),
        ]);
        if family == Family::V4 {
            self.datagrams.push(receiver(own(proxy::UDP_V4_ONLY), true, None));
        }
        for (address, port) in [(taken(family), 8380), (taken(family), 8388), (family.node(), 8380)] {
            let socket = receiver((address, port).into(), true, None);
            let client = SocketAddr::new(family.client(), port::ESTABLISHED);
            socket.connect(client).unwrap_or_else(|error| panic!("connect {address} to {client}: {error}"));
            self.datagrams.push(socket);
        }
    }

    fn connect(&mut self, netns: &Netns, family: Family) {
        netns.set_sysctl("ipv4/tcp_syncookies", "2");
        // A listener that has sent no cookie of late takes none.
        let own = SocketAddr::new(family.loopback(), proxy::TRANSPARENT);
        self.clients.push(TcpStream::connect(own).expect("connect to the proxy's own address"));
        let syn = Segment::syn((family.client(), port::COOKIE).into(), (taken(family), 8080).into());
        let answer = shake(netns, syn, "lo");
        let cookie = Segment { sequence: syn.sequence + 1, acknowledgment: answer.wrapping_add(1), ..syn };
        self.cookies.push((family, cookie.with(flag::ACK)));
        netns.set_sysctl("ipv4/tcp_syncookies", "1");

        for (port, address) in [
            (8080, taken(family)),
            (8082, taken(family)),
            (8088, taken(family)),
            (8090, taken(family)),
            (8080, family.node()),
        ] {
            let stream = connect((family.client(), port::ESTABLISHED).into(), (address, port).into());
            self.clients.push(stream);
        }
        let to = SocketAddr::new(taken(family), 8081);
        let mut stream = connect((family.client(), port::TIME_WAIT).into(), to);
        stream.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
        stream.write_all(b"bye\n").expect("ask the server to close");
        stream.read_to_end(&mut Vec::new()).expect("the server closes");
        drop(stream);
        wait_for_time_wait(family);

        let syn = Segment::syn((silent(family), port::HALF_OPEN).into(), (taken(family), 8080).into());
        shake(netns, syn, "out");
    }
}

/// A socket of UDP at an address.
fn receiver(address: SocketAddr, transparent: bool, device: Option<&str>) -> UdpSocket {
    let socket =
        Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).expect("make a socket");
    socket.set_reuse_address(true).expect("set SO_REUSEADDR");
    socket.bind_device(device.map(str::as_bytes)).expect("bind to a device");
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(transparent),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(transparent),
    }
    .expect("set IP_TRANSPARENT");
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("bind to {address}: {error}"));
    socket.into()
}

/// A connection from an address and port.
fn connect(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket =
        Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).expect("make a socket");
    socket.set_reuse_address(true).expect("set SO_REUSEADDR");
    socket.bind(&from.into()).unwrap_or_else(|error| panic!("bind to {from}: {error}"));
    socket.connect(&to.into()).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
    socket.into()
}

/// Sends a SYN past all sockets, and returns the sequence number of its answer, seen at a device.
fn shake(netns: &Netns, syn: Segment, device: &str) -> u32 {
    let wire = Wire::open(netns, device);
    let sender = Wire::open(netns, "lo");
    sender.send(&syn.packet().frame);
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        let Some(frame) = wire.receive(Duration::from_secs(1)) else {
            // On a busy machine an address is there a while before packets are taken for it.
            sender.send(&syn.packet().frame);
            continue;
        };
        let Ok(packet) = SlicedPacket::from_ethernet(&frame) else { continue };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { continue };
        let answers =
            tcp.source_port() == syn.destination.port() && tcp.destination_port() == syn.source.port();
        if answers && tcp.syn() && tcp.ack() {
            return tcp.sequence_number();
        }
    }
    panic!("no answer to {syn:?}");
}

/// Waits until the kernel has seen the client's FIN.
fn wait_for_time_wait(family: Family) {
    // Not /proc/net: that is the first thread's.
    let path = match family {
        Family::V4 => "/proc/thread-self/net/tcp",
        Family::V6 => "/proc/thread-self/net/tcp6",
    };
    let begin = Instant::now();
    loop {
        let sockets = std::fs::read_to_string(path).expect("list the sockets");
        // The fourth column is the state; 06 is TIME_WAIT.
        if sockets.lines().any(|line| line.split_whitespace().nth(3) == Some("06")) {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "no connection in TIME_WAIT:\n{sockets}");
        std::thread::yield_now();
    }
}
