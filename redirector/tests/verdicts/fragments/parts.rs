//! A packet in fragments.

use crate::packet::{Packet, Segment};

/// 64 bytes with the header of TCP, 52 with that of UDP: more than two fragments of 24 bytes.
pub static PAYLOAD: [u8; 44] = [7; 44];

/// A packet in parts.
pub struct Parts {
    pub whole: Packet,
    pub identification: u16,
    pub first: Packet,
    /// The first, too short for the transport header.
    pub tiny: Packet,
    pub middle: Packet,
    pub last: Packet,
    /// Covers a part of the first.
    pub overlapping: Packet,
}

impl Parts {
    /// The fragments of its packet.
    pub fn of(segment: Segment, identification: u16) -> Self {
        let whole = segment.packet();
        let part = |range| whole.fragment(identification, range);
        let end = whole.frame.len() - whole.transport();
        let (first, middle) = (part(0..24), part(24..40));
        let (tiny, last, overlapping) = (part(0..4), part(40..end), part(8..32));
        Self { first, tiny, middle, last, overlapping, whole, identification }
    }

    /// A first fragment with so many bytes.
    pub fn first_of(&self, length: usize) -> Packet {
        self.whole.fragment(self.identification, 0..length)
    }

    /// Where the transport header begins in the first.
    pub fn transport(&self) -> usize {
        self.whole.transport() + if self.whole.is_ipv4() { 0 } else { 8 }
    }
}
