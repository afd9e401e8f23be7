//! Packets that come in pieces.

use std::{collections::HashMap, net::IpAddr};

use redirector_common::{Protocol, Reason, Verdict};

use super::{Decision, Host, Packet, ip::Header, number, transport::Segment};

/// What one piece says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub identification: u32,
    /// Where it belongs, in units of eight bytes.
    pub offset: u16,
    pub more: bool,
    /// Where IPv6's fragment header begins, in bytes from the start of the packet.
    pub header: Option<usize>,
}

impl Piece {
    /// Out of a fragment header of IPv6.
    pub fn of_header(bytes: &[u8], at: usize) -> Self {
        let field = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]);
        let identification = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes"));
        Self { identification, offset: field >> 3, more: field & 1 != 0, header: Some(at) }
    }
}

/// By what the pieces of a packet are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// None in IPv6, where only the first piece says it.
    protocol: Option<Protocol>,
}

/// What became of packets of which pieces came.
pub type Memory = HashMap<Key, Fate>;

/// What becomes of the pieces of a packet.
#[derive(Clone, Debug)]
pub enum Fate {
    /// One that is not the first came before it, and passed.
    PassedBefore,
    /// The first one got this, and the interface that it left by.
    OfFirst(Verdict, Option<String>),
}

impl Key {
    pub fn new(header: &Header, piece: &Piece) -> Self {
        let protocol = if header.source.is_ipv4() { number::protocol(header.protocol) } else { None };
        let Header { source, destination, .. } = *header;
        Self { source, destination, identification: piece.identification, protocol }
    }
}

/// The first piece, with a whole transport header, gets what the packet would get; the others get the same.
pub fn first(memory: &mut Memory, key: Key, decision: Decision) -> Decision {
    if matches!(decision.reason, Reason::OtherHost | Reason::Marked) {
        return decision;
    }
    if decision.unnamed {
        // Nothing need be known for the others to pass, and what an older packet got is not theirs.
        memory.remove(&key);
        return decision;
    }
    if let Some(Fate::PassedBefore) = memory.get(&key) {
        // What is to be dropped or answered still is: without it the rest is nothing.
        let ends = matches!(decision.verdict, Verdict::Dropped | Verdict::Reset);
        return if ends { decision } else { Reason::Fragment.into() };
    }
    // Nobody answers the others.
    let verdict = if decision.verdict == Verdict::Reset { Verdict::Dropped } else { decision.verdict };
    memory.insert(key, Fate::OfFirst(verdict, decision.leaves_by.clone()));
    decision
}

/// A first piece without a whole transport header: all of them pass.
pub fn tiny(memory: &mut Memory, key: Key) -> Decision {
    first(memory, key, Reason::Fragment.into())
}

/// Any other piece.
pub fn later(host: &Host, memory: &mut Memory, key: Key, packet: &Packet, header: &Header) -> Decision {
    let passes: Decision = Reason::Fragment.into();
    match memory.entry(key).or_insert(Fate::PassedBefore) {
        Fate::OfFirst(Verdict::Forwarded, Some(name)) => match host.next_hop(name, packet, header.hops) {
            Reason::Interface => {
                Decision { verdict: Verdict::Forwarded, leaves_by: Some(name.clone()), ..passes }
            }
            _ => Decision { verdict: Verdict::Dropped, ..passes },
        },
        Fate::OfFirst(verdict, _) => Decision { verdict: *verdict, ..passes },
        Fate::PassedBefore => passes,
    }
}

/// Where the packet is told to be in pieces, so that an answer to the first is none.
pub fn clear(bytes: &mut [u8], segment: &Segment, start: usize) {
    match segment.header.piece {
        Some(Piece { header: Some(at), .. }) => bytes[at + 2..at + 4].fill(0),
        _ if segment.flow.source.is_ipv4() => {
            bytes[start + 6] &= 0x40;
            bytes[start + 7] = 0;
        }
        _ => {}
    }
}
