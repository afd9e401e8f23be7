//! The header behind IP's.

use std::net::IpAddr;

use redirector_common::{Family, Protocol, Reason};

use super::{Packet, ip::Header};

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub protocol: Protocol,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
}

/// A segment or a datagram that is understood.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub flow: Flow,
    pub header: Header,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgment: u32,
    /// Bytes of data.
    pub data: usize,
}

/// The least that a protocol's header takes, in bytes.
pub const fn least(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 20,
        Protocol::Udp => 8,
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Flow {
    /// The family of both addresses.
    pub fn family(&self) -> Family {
        if self.destination.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl Segment {
    /// Whether it is decided by itself: a datagram, or what asks for a new connection and does nothing else.
    pub fn opens(&self) -> bool {
        self.flow.protocol == Protocol::Udp || self.flags & (FIN | SYN | RST | ACK) == SYN
    }

    pub fn resets(&self) -> bool {
        self.flags & RST != 0
    }

    pub fn acknowledges(&self) -> bool {
        self.flags & ACK != 0
    }

    /// Whether it can end a handshake.
    pub fn ends_handshake(&self) -> bool {
        self.flags & (SYN | RST | ACK) == ACK
    }

    /// How much of the sequence it takes: data, and one for each of SYN and FIN.
    pub fn length(&self) -> u32 {
        self.data as u32 + u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0)
    }
}

/// Reads the header, of a whole packet or of its first piece. None: it is not all in that piece.
pub fn read(packet: &Packet, header: Header, protocol: Protocol) -> Result<Option<Segment>, Reason> {
    let (at, is_first) = (header.behind, header.piece.is_some());
    if at + least(protocol) > header.end {
        return if is_first { Ok(None) } else { Err(Reason::Truncated) };
    }
    let bytes = &packet.bytes[at..header.end];
    let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let flow = Flow {
        protocol,
        source: header.source,
        destination: header.destination,
        source_port: short(0),
        destination_port: short(2),
    };
    let mut segment = Segment { flow, header, flags: 0, sequence: 0, acknowledgment: 0, data: 0 };
    match protocol {
        Protocol::Tcp => {
            let length = usize::from(bytes[12] >> 4) * 4;
            if length < least(protocol) {
                return Err(Reason::Malformed);
            }
            segment.flags = bytes[13];
            segment.sequence = u32::from(short(4)) << 16 | u32::from(short(6));
            segment.acknowledgment = u32::from(short(8)) << 16 | u32::from(short(10));
            segment.data = bytes.len().saturating_sub(length);
        }
        // What stands for several says anything.
        Protocol::Udp if packet.gso_size != 0 => {}
        Protocol::Udp => {
            let length = usize::from(short(4));
            if length < least(protocol) {
                return Err(Reason::Malformed);
            }
            // It is that of all pieces together.
            if length > bytes.len() && !is_first {
                return Err(Reason::Truncated);
            }
        }
    }
    Ok(Some(segment))
}
