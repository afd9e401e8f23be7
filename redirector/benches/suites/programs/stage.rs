//! The programs, routes and sockets that the packets meet.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
};

use redirector::{
    datapath::{Datapath, FlowReader, Marking},
    routes::{Limits, Origin, Route, compile},
};
use redirector_common::{Reason, Verdict, entries::EventSettings};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    figures::Table,
    packet::{Packet, Segment, flag},
    raw,
    shapes::{Extension, icmp_error, number},
    support::{
        Listener, Netns, Server,
        datagrams::{Datagrams, Receiver},
        world::{FAMILIES, Family, PORT, PROXY_PORT},
    },
};

const ROUTES: [&str; 5] = [
    "direct:8080=proxy:15001",
    "prefix:192.0.2.0/24,[2001:db8:2::/64]:8081=proxy:15001",
    "source:192.0.2.0/24,[2001:db8:2::/64]:8082=proxy:15001 from 10.0.1.0/24,2001:db8:1::/64",
    "direct-udp:udp/8080=proxy:15001",
    "prefix-udp:udp/192.0.2.0/24,[2001:db8:2::/64]:8081=proxy:15001",
];

/// A packet to measure.
pub struct Measured {
    pub name: &'static str,
    pub packet: Packet,
    pub reason: Reason,
    pub goal: &'static str,
    /// What is told of new connections meanwhile.
    pub events: EventSettings,
}

/// Nothing is told.
const SILENT: EventSettings = EventSettings { per_second: 0, watched: 0, all: 0, pad: 0 };
/// Everything is told.
const TOLD: EventSettings = EventSettings { per_second: u32::MAX, watched: 1, all: 1, pad: 0 };
/// One in a second, and the others are counted.
const LIMITED: EventSettings = EventSettings { per_second: 1, watched: 1, all: 0, pad: 0 };

/// Runs of a program that may tell each time before what it told is read: less than there is room for.
pub const TELLS: u32 = 4000;

/// The packets of a family. The first is one that no route concerns.
pub fn packets(family: Family) -> Vec<Measured> {
    let client = SocketAddr::new(family.client(), 40000);
    let syn = |port| Segment::syn(client, (family.service(), port).into());
    let to_node = Segment::syn(client, (family.node(), PORT).into());
    let datagram = |port| Segment::datagram(client, (family.service(), port).into());
    let datagram_to_node = Segment::datagram(client, (family.node(), PORT).into());
    let connected = Segment::datagram((family.client(), 40001).into(), (taken(family), PORT).into());
    let local = Segment { source: (family.client(), 40001).into(), ..to_node };
    let five_times = "at most 5 times empty";
    let case = |name, segment: Segment, reason, goal| Measured {
        name,
        packet: segment.packet(),
        reason,
        goal,
        events: SILENT,
    };
    let with = |events, name, segment, reason| Measured { events, ..case(name, segment, reason, "") };
    let mut packets = vec![
        case("no route", syn(7).with(flag::ACK), Reason::NoRoute, "at most 10 ns over empty"),
        case("established, local", local.with(flag::ACK), Reason::Local, "at most 15 ns over empty"),
        case("established, foreign", established(family), Reason::Established, "one look-up more than local"),
        case("no connection, foreign", syn(PORT).with(flag::ACK), Reason::NotNew, ""),
        case("SYN, by port", syn(PORT), Reason::Proxy, five_times),
        case("SYN, by port, to the node", to_node, Reason::Proxy, five_times),
        case("SYN, by prefix", syn(8081), Reason::Proxy, five_times),
        case("SYN, by prefix and source", syn(8082), Reason::Proxy, five_times),
        with(TOLD, "SYN, by port, told", syn(PORT), Reason::Proxy),
        with(LIMITED, "SYN, by port, past the rate", syn(PORT), Reason::Proxy),
        case("SYN, no route", syn(7), Reason::NoRoute, ""),
        with(TOLD, "SYN, no route, told", syn(7), Reason::NoRoute),
        case("datagram, no route", datagram(7), Reason::NoRoute, "at most 10 ns over empty"),
        case("datagram, by port", datagram(PORT), Reason::Proxy, five_times),
        case("datagram, by port, to the node", datagram_to_node, Reason::Proxy, five_times),
        case("datagram, by prefix", datagram(8081), Reason::Proxy, five_times),
        case("datagram of a connected socket, foreign", connected, Reason::Established, ""),
    ];
    packets.extend(shaped(family, syn(7), syn(PORT)));
    packets
}

/// Packets with something special, of which one has no route, and another leads to the proxy.
fn shaped(family: Family, no_route: Segment, steered: Segment) -> Vec<Measured> {
    let case = |name, packet, reason| Measured { name, packet, reason, goal: "", events: SILENT };
    let parts = |segment: Segment, identification, range| {
        Segment { payload: b"a payload of forty bytes, in two parts..", ..segment }
            .packet()
            .fragment(identification, range)
    };
    let own = taken(family);
    let (too_big, echo) = if family == Family::V4 { ([3, 4], [8, 0]) } else { ([2, 0], [128, 0]) };
    let answer = Segment::syn((own, PORT).into(), (family.client(), 40001).into()).packet();
    let icmp = |kind| icmp_error(family.service(), own, kind, &answer.embedded(48));
    let mut packets = vec![
        case("a tag of a VLAN", steered.packet().insert(12, &[0x81, 0, 0, 5]), Reason::Vlan),
        case("first fragment, no route", parts(no_route, 1, 0..40), Reason::NoRoute),
        case("first fragment, SYN", parts(steered, 2, 0..40), Reason::Proxy),
        case("later fragment", parts(steered, 3, 40..60), Reason::Fragment),
        case("ICMP error", icmp(too_big), Reason::IcmpError),
        case("ICMP echo", icmp(echo), Reason::OtherProtocol),
    ];
    if family == Family::V6 {
        let options = |segment: Segment, headers| {
            segment.packet().extended(&vec![Extension::padding(number::DESTINATION, 1); headers])
        };
        packets.extend([
            case("an extension header, no route", options(no_route, 1), Reason::NoRoute),
            case("an extension header, SYN", options(steered, 1), Reason::Proxy),
            case("8 extension headers, no route", options(no_route, 8), Reason::NoRoute),
        ]);
    }
    packets
}

/// A segment of a connection to an address that is not known as the host's.
pub fn established(family: Family) -> Segment {
    Segment::syn((family.client(), 40001).into(), (taken(family), PORT).into()).with(flag::ACK)
}

fn taken(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, 10].into(),
        Family::V6 => [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10].into(),
    }
}

/// Programs, routes and sockets.
pub struct Stage {
    datapath: Datapath,
    events: FlowReader,
    _servers: Vec<Server>,
    _clients: Vec<TcpStream>,
    _datagrams: (Vec<Datagrams>, Vec<UdpSocket>),
}

impl Stage {
    /// In a new namespace, which is the calling thread's.
    pub fn new(netns: &Netns) -> Self {
        netns.ip("address add 10.0.1.1/32 dev lo
             address add 10.0.1.2/32 dev lo
             address add 2001:db8:1::1/128 dev lo nodad
             address add 2001:db8:1::2/128 dev lo nodad
             route add local 192.0.2.10/32 dev lo
             route add local 2001:db8:2::10/128 dev lo");
        netns.set_sysctl("ipv6/ip_nonlocal_bind", "1");
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        let mut datagrams = (Vec::new(), Vec::new());
        for family in FAMILIES {
            let proxy = Listener::proxy((family.loopback(), PROXY_PORT));
            servers.push(proxy.serve(netns, "proxy"));
            datagrams.0.push(Receiver::proxy((family.loopback(), PROXY_PORT)).serve(netns, "proxy"));
            let socket = UdpSocket::bind((taken(family), PORT)).expect("bind a socket of UDP");
            socket.connect((family.client(), 40001)).expect("connect it");
            datagrams.1.push(socket);
            for address in [taken(family), family.node()] {
                servers.push(Listener::ordinary((address, PORT)).serve(netns, "server"));
                clients.push(connect((family.client(), 40001).into(), (address, PORT).into()));
            }
        }
        let routes: Vec<Route> = ROUTES.iter().map(|text| text.parse().expect("a route")).collect();
        let limits = Limits::default();
        let compiled =
            compile(&BTreeMap::from([(Origin::CommandLine, routes)]), &limits).expect("compile the routes");
        let mut datapath =
            Datapath::load(&limits, Marking { mark: 0x2000, seen: 0 }).expect("load the programs");
        datapath.publish(&compiled).expect("write the routes");
        datapath.set_locals(&FAMILIES.map(Family::node)).expect("write the addresses");
        datapath.attach_sk_lookup().expect("attach sk_lookup");
        let events = datapath.flow_reader().expect("open the events");
        Self { datapath, events, _servers: servers, _clients: clients, _datagrams: datagrams }
    }

    /// The program that is measured.
    pub fn tc_ingress(&mut self) -> OwnedFd {
        let program = self.datapath.classifier("tc_ingress").expect("the programs have tc_ingress");
        let fd = program.fd().expect("the program is loaded").as_fd();
        fd.try_clone_to_owned().expect("copy a descriptor")
    }

    /// Has so much told, with all the room for it.
    pub fn tell(&mut self, events: EventSettings) {
        self.events.set(events).expect("write EVENTS");
        while self.events.next().is_some() {}
    }

    /// Asserts that a case measures what its name says.
    pub fn check(&mut self, reason: Option<Reason>, program: &OwnedFd, packet: &[u8], name: &str) {
        let before = self.packets(reason);
        let run = raw::test_run(program.as_fd(), packet, 1).expect("run a program");
        assert_eq!(run.return_value as i32, -1, "{name}: what the program returned");
        assert_eq!(
            self.packets(reason) - before,
            u64::from(reason.is_some()),
            "{name}: counted as {reason:?}"
        );
    }

    fn packets(&mut self, reason: Option<Reason>) -> u64 {
        let counters = self.datapath.counters().expect("read the counters");
        let count = |&(_, of, count): &(Verdict, _, redirector_common::entries::PacketCount)| {
            (Some(of) == reason).then_some(count.packets)
        };
        counters.iter().filter_map(count).sum()
    }

    /// Prints how large the programs are.
    pub fn print_sizes(&mut self) {
        let mut table =
            Table::new(&["program", "verified instructions", "instructions", "machine code, bytes"]);
        let mut sizes = Vec::new();
        for (name, program) in self.datapath.ebpf().programs() {
            let info = program.info().expect("describe a program");
            let translated = info.size_translated().unwrap_or(0) / 8;
            let verified = info.verified_instruction_count().unwrap_or(0);
            sizes.push([
                name.to_owned(),
                verified.to_string(),
                translated.to_string(),
                info.size_jitted().to_string(),
            ]);
        }
        sizes.sort();
        sizes.into_iter().for_each(|row| table.row(row));
        println!("\n{table}");
    }
}

/// A connection from an address and port.
fn connect(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket =
        Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).expect("make a socket");
    // Several connections have the same source.
    socket.set_reuse_address(true).expect("set SO_REUSEADDR");
    socket.bind(&from.into()).unwrap_or_else(|error| panic!("bind to {from}: {error}"));
    socket.connect(&to.into()).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
    socket.into()
}
