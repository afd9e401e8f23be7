//! Packets: valid ones, and ways to spoil them.

use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, TcpHeader};
use redirector_common::Protocol;

use crate::support::frames;

/// Bits of TCP's flags.
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// Length of an Ethernet header: where IP begins.
pub const IP: usize = 14;

/// A TCP segment or a UDP datagram, of which packets are made.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub protocol: Protocol,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub payload: &'static [u8],
}

/// A frame as it is given to the program, and the segment that it was made of.
#[derive(Clone, Debug)]
pub struct Packet {
    pub segment: Segment,
    pub frame: Vec<u8>,
    /// Size of the segments that the packet stands for; 0 if it is one by itself.
    pub gso_size: u32,
}

impl Segment {
    /// The beginning of a connection.
    pub fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        let protocol = Protocol::Tcp;
        Self {
            protocol,
            source,
            destination,
            flags: flag::SYN,
            sequence: 1000,
            acknowledgment: 0,
            payload: b"",
        }
    }

    /// A datagram, which has no flags.
    pub fn datagram(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { protocol: Protocol::Udp, flags: 0, ..Self::syn(source, destination) }
    }

    /// The same with other flags, from FIN (lowest bit) to CWR.
    pub fn with(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// The valid packet.
    pub fn packet(self) -> Packet {
        // The MAC addresses are those of the loopback device, through which some packets are sent for real.
        let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
        let ip = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ethernet.ipv4(source.octets(), destination.octets(), 64)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ethernet.ipv6(source.octets(), destination.octets(), 64)
            }
            mixed => panic!("a packet has one family: {mixed:?}"),
        };
        let mut frame = Vec::new();
        if self.protocol == Protocol::Udp {
            let datagram = ip.udp(self.source.port(), self.destination.port());
            datagram.write(&mut frame, self.payload).expect("write a packet");
            return Packet { segment: self, frame, gso_size: 0 };
        }
        let has = |flag| self.flags & flag != 0;
        let mut tcp = TcpHeader::new(self.source.port(), self.destination.port(), self.sequence, 1024);
        tcp.acknowledgment_number = self.acknowledgment;
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh) =
            (has(flag::FIN), has(flag::SYN), has(flag::RST), has(flag::PSH));
        (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) =
            (has(flag::ACK), has(flag::URG), has(flag::ECE), has(flag::CWR));
        ip.tcp_header(tcp).write(&mut frame, self.payload).expect("write a packet");
        Packet { segment: self, frame, gso_size: 0 }
    }
}

impl Packet {
    /// The same with other bytes.
    pub fn edit(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.frame);
        self
    }

    /// The same with another byte at an offset.
    pub fn byte(self, at: usize, value: u8) -> Self {
        self.edit(|frame| frame[at] = value)
    }

    /// The same with other bytes from an offset on.
    pub fn bytes(self, at: usize, values: &[u8]) -> Self {
        self.edit(|frame| frame[at..at + values.len()].copy_from_slice(values))
    }

    /// The same with bytes put in.
    pub fn insert(self, at: usize, values: &[u8]) -> Self {
        self.edit(|frame| drop(frame.splice(at..at, values.iter().copied())))
    }

    /// The same with another Ethernet type.
    pub fn ether_type(self, ether_type: u16) -> Self {
        self.bytes(12, &ether_type.to_be_bytes())
    }

    /// The first bytes of it.
    pub fn cut(self, length: usize) -> Self {
        self.edit(|frame| frame.truncate(length))
    }

    /// The same as a packet that stands for several segments.
    pub fn gso(self, gso_size: u32) -> Self {
        Self { gso_size, ..self }
    }

    /// Where the transport header begins, without IPv4 options and IPv6 extension headers.
    pub fn transport(&self) -> usize {
        if self.is_ipv4() { IP + 20 } else { IP + 40 }
    }

    /// The same with this in the field that states a length: `tot_len` of IPv4, `payload_len` of IPv6.
    pub fn stated_length(self, length: usize) -> Self {
        let field = if self.is_ipv4() { IP + 2 } else { IP + 4 };
        let length = u16::try_from(length).expect("the field has 16 bits");
        self.bytes(field, &length.to_be_bytes())
    }

    /// The length that a truthful header states.
    pub fn true_length(&self) -> usize {
        self.frame.len() - if self.is_ipv4() { IP } else { IP + 40 }
    }

    /// An IPv4 packet with options, that is with a header of so many words of four bytes.
    pub fn options(self, words: u8) -> Self {
        const NO_OPERATION: u8 = 1;
        let options = vec![NO_OPERATION; usize::from(words - 5) * 4];
        let packet = self.insert(IP + 20, &options).byte(IP, 0x40 | words);
        let length = packet.true_length();
        packet.stated_length(length)
    }

    /// The same with an IPv4 header whose checksum is right.
    pub fn right_checksum(self) -> Self {
        self.edit(|frame| frames::fix_checksum(frame))
    }

    pub fn is_ipv4(&self) -> bool {
        self.segment.destination.is_ipv4()
    }
}
