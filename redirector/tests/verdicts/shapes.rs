//! Packets whose transport header is not behind the IP header, or not their own: extension headers, fragments, ICMP errors.

use std::{net::IpAddr, ops::Range};

use redirector_common::Protocol;

use crate::packet::{IP, Packet, Segment};

/// Numbers of protocols and of extension headers (IANA, "Protocol Numbers").
pub mod number {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ENCRYPTED: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMP_V6: u8 = 58;
    pub const NONE: u8 = 59;
    pub const DESTINATION: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HOST_IDENTITY: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// An extension header: its number, and its bytes, of which the first, the number of what follows, is filled in later.
#[derive(Clone, Debug)]
pub struct Extension(pub u8, pub Vec<u8>);

impl Extension {
    /// A header with nothing but padding that takes so many units of eight bytes.
    pub fn padding(number: u8, units: u8) -> Self {
        // PadN takes all that is left (RFC 8200, 4.2); where that is too much for one, zeros (Pad1) do as well.
        let mut bytes = vec![0; usize::from(units) * 8];
        bytes[1] = units - 1;
        Self(number, bytes)
    }

    /// A routing header with so many segments left.
    pub fn routing(left: u8) -> Self {
        Self(number::ROUTING, vec![0, 0, 4, left, 0, 0, 0, 0])
    }

    /// A fragment header, the offset in bytes.
    pub fn fragment(identification: u32, offset: usize, more: bool) -> Self {
        assert_eq!(offset % 8, 0, "fragments begin at multiples of eight bytes");
        let [high, low] = u16::try_from(offset).expect("the field has 16 bits").to_be_bytes();
        let [a, b, c, d] = identification.to_be_bytes();
        Self(number::FRAGMENT, vec![0, 0, high, low | u8::from(more), a, b, c, d])
    }
}

impl Packet {
    /// An IPv6 packet with these headers between those of IP and of the transport.
    pub fn extended(self, chain: &[Extension]) -> Self {
        assert!(!self.is_ipv4(), "IPv4 has no extension headers");
        let mut next = self.frame[IP + 6];
        let mut headers = Vec::new();
        for Extension(number, bytes) in chain.iter().rev() {
            let mut bytes = bytes.clone();
            bytes[0] = next;
            headers.splice(0..0, bytes);
            next = *number;
        }
        let packet = self.byte(IP + 6, next).insert(IP + 40, &headers);
        let length = packet.true_length();
        packet.stated_length(length)
    }

    /// An IPv6 packet with so many headers, at most eight, of all kinds that may be there.
    pub fn extended_by(self, headers: usize) -> Self {
        let kinds = [
            Extension::padding(number::HOP_BY_HOP, 1),
            Extension::padding(number::DESTINATION, 2),
            Extension::routing(0),
            Extension::fragment(99, 0, false),
            Extension::padding(number::DESTINATION, 1),
            Extension::routing(0),
            Extension::padding(number::DESTINATION, 3),
            Extension::routing(0),
        ];
        self.extended(&kinds[..headers])
    }

    /// A fragment: these bytes of what is behind the IP header (of IPv4 with its options, of IPv6 without extension headers).
    pub fn fragment(&self, identification: u16, range: Range<usize>) -> Self {
        let header = if self.is_ipv4() { usize::from(self.frame[IP] & 0xf) * 4 } else { 40 };
        let payload = &self.frame[IP + header..];
        let more = range.end < payload.len();
        let part = payload[range.clone()].to_vec();
        let mut fragment = self.clone();
        if let (Protocol::Tcp, 0, 20..) = (self.segment.protocol, range.start, range.end) {
            // As much of the data as the first fragment has.
            fragment.segment.payload =
                &self.segment.payload[..(range.end - 20).min(self.segment.payload.len())];
        }
        let fragment = fragment.edit(|frame| {
            frame.truncate(IP + header);
            frame.extend(part);
        });
        let length = fragment.true_length();
        let fragment = fragment.stated_length(length);
        if self.is_ipv4() {
            let offset = u16::try_from(range.start / 8).expect("the field has 13 bits");
            let field = offset | if more { 0x2000 } else { 0 };
            fragment
                .bytes(IP + 4, &identification.to_be_bytes())
                .bytes(IP + 6, &field.to_be_bytes())
                .right_checksum()
        } else {
            fragment.extended(&[Extension::fragment(identification.into(), range.start, more)])
        }
    }

    /// From the IP header on, as ICMP embeds it: so many bytes of it at most.
    pub fn embedded(&self, most: usize) -> Vec<u8> {
        self.frame[IP..].iter().copied().take(most).collect()
    }
}

/// An ICMP error from somewhere: a type and a code, and what it speaks of.
pub fn icmp_error(from: IpAddr, to: IpAddr, [kind, code]: [u8; 2], embedded: &[u8]) -> Packet {
    let segment = Segment::datagram((from, 0).into(), (to, 0).into());
    // A datagram's headers, of which those of UDP become ICMP's: as long, without a checksum, which nobody verifies here.
    let packet = segment.packet();
    let (transport, is_ipv4) = (packet.transport(), packet.is_ipv4());
    let protocol = if is_ipv4 { number::ICMP } else { number::ICMP_V6 };
    let packet = packet
        .bytes(transport, &[kind, code, 0, 0, 0, 0, 0, 0])
        .byte(if is_ipv4 { IP + 9 } else { IP + 6 }, protocol)
        .edit(|frame| frame.extend(embedded));
    let length = packet.true_length();
    let packet = packet.stated_length(length);
    if is_ipv4 { packet.right_checksum() } else { packet }
}
