//! What a packet is made into: the same with a hop less, or the reset that answers it.

use etherparse::{PacketBuilder, TcpHeader};

use crate::{
    packet::{IP, Packet, Segment, flag},
    support::frames,
};

impl Packet {
    /// The same with an IPv4 header whose checksum is right.
    pub fn right_checksum(self) -> Self {
        self.edit(|frame| frames::fix_checksum(frame))
    }

    /// The same after another hop.
    pub fn after_a_hop(self) -> Self {
        let at = if self.is_ipv4() { IP + 8 } else { IP + 7 };
        let hops = self.frame[at] - 1;
        let packet = self.byte(at, hops);
        if packet.is_ipv4() { packet.right_checksum() } else { packet }
    }

    /// The frame that refuses it: written from the RFC, not from the program.
    pub fn refusal(&self) -> Vec<u8> {
        let Segment { source, destination, flags, sequence, acknowledgment, payload, .. } = self.segment;
        let has = |flag| u32::from(flags & flag != 0);
        let length = payload.len() as u32 + has(flag::SYN) + has(flag::FIN);
        let mut tcp = TcpHeader::new(destination.port(), source.port(), 0, 0);
        tcp.rst = true;
        if has(flag::ACK) == 1 {
            tcp.sequence_number = acknowledgment;
        } else {
            tcp.ack = true;
            tcp.acknowledgment_number = sequence.wrapping_add(length);
        }
        let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
        let ip = match (destination.ip(), source.ip()) {
            (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
                ethernet.ipv4(from.octets(), to.octets(), 64)
            }
            (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
                ethernet.ipv6(from.octets(), to.octets(), 64)
            }
            mixed => panic!("a packet has one family: {mixed:?}"),
        };
        let mut frame = Vec::new();
        ip.tcp_header(tcp).write(&mut frame, &[]).expect("write a packet");
        let refusal = Self { segment: self.segment, frame, gso_size: 0 };
        // Options of IPv4 stay where they are.
        match self.frame[IP] & 0xf {
            words @ 6.. if self.is_ipv4() => refusal.options(words).right_checksum().frame,
            _ => refusal.frame,
        }
    }
}
