//! What a packet is made into: the same with a hop less, or what refuses it.

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, icmpv4,
    icmpv6,
};
use redirector_common::Protocol;

use crate::{
    packet::{IP, Packet, Segment, flag},
    shapes::number,
};

impl Packet {
    /// The same after another hop.
    pub fn after_a_hop(self) -> Self {
        let at = if self.is_ipv4() { IP + 8 } else { IP + 7 };
        let hops = self.frame[at] - 1;
        let packet = self.byte(at, hops);
        if packet.is_ipv4() { packet.right_checksum() } else { packet }
    }

    /// The frame that refuses it: written from the RFC, not from the program.
    pub fn refusal(&self) -> Vec<u8> {
        match self.segment.protocol {
            Protocol::Tcp => self.reset(),
            Protocol::Udp => self.unreachable(),
        }
    }

    /// Of a datagram IP's headers and its own are sent back.
    fn unreachable(&self) -> Vec<u8> {
        let headers = self.headers();
        let mut quoted = self.frame[IP..IP + headers + 8].to_vec();
        let check = headers + 6;
        quoted.splice(check.., completed(&quoted[headers..check]).to_be_bytes());
        let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
        let mut frame = Vec::new();
        let written = match (self.segment.destination.ip(), self.segment.source.ip()) {
            (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
                let length = 8 + quoted.len() as u16;
                let header = Ipv4Header::new(length, 64, IpNumber::ICMP, from.octets(), to.octets());
                let mut header = header.expect("it is not too long");
                // Precedence 6, of the six bits of DSCP.
                header.dscp = (6 << 3).try_into().expect("six bits");
                let answer = ethernet.ip(IpHeaders::Ipv4(header, Default::default()));
                let port = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
                answer.icmpv4(port).write(&mut frame, &quoted)
            }
            (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    hop_limit: 64,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Ipv6Header::default()
                };
                let answer = ethernet.ip(IpHeaders::Ipv6(header, Default::default()));
                let port = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
                answer.icmpv6(port).write(&mut frame, &quoted)
            }
            mixed => panic!("a packet has one family: {mixed:?}"),
        };
        written.expect("write a packet");
        frame
    }

    fn reset(&self) -> Vec<u8> {
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
        // Options of IPv4 and extension headers stay where they are. What answers a fragment is none.
        if self.is_ipv4() {
            let words = self.frame[IP] & 0xf;
            let (identification, flags) = (&self.frame[IP + 4..IP + 6], self.frame[IP + 6] & 0x40);
            let refusal = if words == 5 { refusal } else { refusal.options(words) };
            return refusal.bytes(IP + 4, identification).bytes(IP + 6, &[flags, 0]).right_checksum().frame;
        }
        let mut extensions = self.frame[IP + 40..IP + self.headers()].to_vec();
        if self.frame[IP + 6] == number::FRAGMENT {
            extensions[2..4].fill(0);
        }
        let refusal = refusal.byte(IP + 6, self.frame[IP + 6]).insert(IP + 40, &extensions);
        let length = refusal.true_length();
        refusal.stated_length(length).frame
    }

    /// Length of all headers between those of the link and of the transport.
    fn headers(&self) -> usize {
        if self.is_ipv4() {
            return usize::from(self.frame[IP] & 0xf) * 4;
        }
        let (mut next, mut length) = (self.frame[IP + 6], 40);
        while ![number::TCP, number::UDP].contains(&next) {
            let units =
                if next == number::FRAGMENT { 1 } else { usize::from(self.frame[IP + length + 1]) + 1 };
            next = self.frame[IP + length];
            length += units * 8;
        }
        length
    }
}

/// The checksum that completing leaves as it is: looked for among all.
fn completed(words: &[u8]) -> u16 {
    let sum: u32 = words.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let is_left = |check: &u16| {
        let sum = sum + u32::from(*check);
        let folded = (sum & 0xffff) + (sum >> 16);
        let completed = !(((folded & 0xffff) + (folded >> 16)) as u16);
        (if completed == 0 { 0xffff } else { completed }) == *check
    };
    (1..=u16::MAX).find(is_left).expect("there is one")
}
