//! Frames as they are on the wire, past all of the sender's sockets.

use std::{
    io::{ErrorKind, Read as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep, TcpHeader};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::{DEADLINE, Netns};

/// The node, as in the address plan.
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The client.
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Types of frames (include/uapi/linux/if_ether.h).
pub const ETH_P_IP: u16 = 0x0800;
/// As above.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// A type for local experiments: nobody reads it, and it can mark an end.
pub const ETH_P_LOCAL: u16 = 0x88b5;

/// Flags of a TCP header.
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
}

/// A frame from the client to the node.
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&NODE[..], &CLIENT, &ether_type.to_be_bytes(), payload].concat()
}

/// A frame from the client to the node with a packet of this protocol (IPv6: next header).
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a packet fits its length field");
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header =
                Ipv4Header::new(length, 64, protocol.into(), source.octets(), destination.octets())
                    .expect("the packet fits its length field");
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut packet).expect("write to memory");
            packet.extend(payload);
            ethernet(ETH_P_IP, &packet)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                payload_length: length,
                next_header: protocol.into(),
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            header.write(&mut packet).expect("write to memory");
            packet.extend(payload);
            ethernet(ETH_P_IPV6, &packet)
        }
        _ => panic!("{source} and {destination} are of one family"),
    }
}

/// A frame from the client to the node with a TCP segment without data.
pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Vec<u8> {
    let mut header = TcpHeader::new(source.port(), destination.port(), 1000, 64240);
    header.fin = flags & flag::FIN != 0;
    header.syn = flags & flag::SYN != 0;
    header.rst = flags & flag::RST != 0;
    header.psh = flags & flag::PSH != 0;
    header.ack = flags & flag::ACK != 0;
    header.urg = flags & flag::URG != 0;
    let mut frame = Vec::new();
    packet(source.ip(), destination.ip()).tcp_header(header).write(&mut frame, &[]).expect("write to memory");
    frame
}

/// The headers before the transport's.
fn packet(source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(CLIENT, NODE);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("{source} and {destination} are of one family"),
    }
}

/// A frame from the client to the node with a datagram of UDP.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let datagram = packet(source.ip(), destination.ip()).udp(source.port(), destination.port());
    datagram.write(&mut frame, payload).expect("write to memory");
    frame
}

/// The segment alone, to be put behind other headers.
pub fn tcp_segment(source: SocketAddr, destination: SocketAddr, flags: u8) -> Vec<u8> {
    let frame = tcp(source, destination, flags);
    let header = if source.is_ipv4() { 20 } else { 40 };
    frame[14 + header..].to_vec()
}

/// The same segment of TCP with data, whose checksum is right.
pub fn with_data(frame: Vec<u8>, data: &[u8]) -> Vec<u8> {
    let packet = etherparse::PacketHeaders::from_ethernet_slice(&frame).expect("a whole segment");
    let (Some(net), Some(etherparse::TransportHeader::Tcp(mut tcp))) = (packet.net, packet.transport) else {
        panic!("{frame:02x?} is no segment of TCP");
    };
    let ethernet = frame[..14].to_vec();
    let length = u16::try_from(tcp.header_len() + data.len()).expect("the segment fits");
    let mut ip = Vec::new();
    match net {
        etherparse::NetHeaders::Ipv4(mut header, _) => {
            header.set_payload_len(length.into()).expect("the segment fits");
            header.header_checksum = header.calc_header_checksum();
            tcp.checksum = tcp.calc_checksum_ipv4(&header, data).expect("the segment fits");
            header.write(&mut ip).expect("write to memory");
        }
        etherparse::NetHeaders::Ipv6(mut header, _) => {
            header.payload_length = length;
            tcp.checksum = tcp.calc_checksum_ipv6(&header, data).expect("the segment fits");
            header.write(&mut ip).expect("write to memory");
        }
        etherparse::NetHeaders::Arp(_) => panic!("ARP has no segments"),
    }
    let mut segment = Vec::new();
    tcp.write(&mut segment).expect("write to memory");
    [ethernet, ip, segment, data.to_vec()].concat()
}

/// A packet in fragments of so many bytes of what is behind the IP header, a multiple of eight.
pub fn fragments(frame: &[u8], identification: u16, size: usize) -> Vec<Vec<u8>> {
    let is_ipv4 = frame[12..14] == ETH_P_IP.to_be_bytes();
    let header = 14 + if is_ipv4 { 20 } else { 40 };
    let parts: Vec<_> = frame[header..].chunks(size).collect();
    let fragment = |(index, part): (usize, &&[u8])| {
        let more = u16::from(index + 1 < parts.len());
        let offset = u16::try_from(index * size).expect("the offset fits its field");
        let mut fragment = frame[..header].to_vec();
        if is_ipv4 {
            let length = u16::try_from(20 + part.len()).expect("the fragment fits");
            fragment[16..18].copy_from_slice(&length.to_be_bytes());
            fragment[18..20].copy_from_slice(&identification.to_be_bytes());
            fragment[20..22].copy_from_slice(&((offset / 8) | (more << 13)).to_be_bytes());
            fix_checksum(&mut fragment);
        } else {
            let length = u16::try_from(8 + part.len()).expect("the fragment fits");
            fragment[18..20].copy_from_slice(&length.to_be_bytes());
            let next = std::mem::replace(&mut fragment[20], 44);
            let [high, low] = (offset | more).to_be_bytes();
            let [a, b] = identification.to_be_bytes();
            fragment.extend([next, 0, high, low, 0, 0, a, b]);
        }
        fragment.extend(*part);
        fragment
    };
    parts.iter().enumerate().map(fragment).collect()
}

/// Makes an IPv4 header's checksum right again.
pub fn fix_checksum(frame: &mut [u8]) {
    let length = usize::from(frame[14] & 0xf) * 4;
    frame[24..26].fill(0);
    let words =
        frame[14..14 + length].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[24..26].copy_from_slice(&(!folded as u16).to_be_bytes());
}

/// A way to send and receive whole frames at an interface.
pub struct Wire(pub(super) Socket);

impl Wire {
    /// Opens it. It sees what is received there, and what others send.
    pub fn open(netns: &Netns, interface: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        netns.run(|| {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol))))
                .expect("open a packet socket");
            let mut storage = SockAddrStorage::zeroed();
            // SAFETY: the storage is large and aligned enough for any address, and all of this one is integers.
            let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = if_nametoindex(interface).expect("find the interface") as i32;
            // SAFETY: the storage holds a whole `sockaddr_ll`, as was just written.
            let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
            socket.bind(&address).expect("bind a packet socket");
            // Room for a burst of small connections.
            socket.set_recv_buffer_size(1 << 22).expect("set the buffer's size");
            Self(socket)
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = self.0.send(frame).expect("send a frame");
        assert_eq!(sent, frame.len());
    }

    /// The frames from the client to the node up to the next that has the type [`ETH_P_LOCAL`], sorted. Multicast,
    /// by which hosts speak of themselves, is left out, and so is the tag of a VLAN, which the kernel keeps beside
    /// a frame that it has received.
    #[track_caller]
    pub fn receive_until_end(&self) -> Vec<Vec<u8>> {
        let begin = Instant::now();
        let mut frames = Vec::new();
        loop {
            let left = DEADLINE.saturating_sub(begin.elapsed());
            let Some(mut frame) = self.receive(left) else { panic!("no end after {} frames", frames.len()) };
            if !frame.starts_with(&[NODE, CLIENT].concat()) {
                continue;
            }
            if matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]) {
                frame.drain(12..16);
            }
            if frame[12..14] == ETH_P_LOCAL.to_be_bytes() {
                frames.sort();
                return frames;
            }
            frames.push(frame);
        }
    }

    /// The next frame; none if none comes for so long.
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("set a time-out");
        let mut frame = vec![0; 1 << 16];
        match (&self.0).read(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Some(frame)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("receive a frame: {error}"),
        }
    }
}
