//! All that one packet caused.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use redirector_common::{
    Address, Family, Reason, Verdict,
    entries::{Handoff, HandoffState, listener_index},
};

use crate::packet::Segment;

/// What is seen of a run from outside.
#[derive(PartialEq, Eq)]
pub struct Effects {
    pub return_value: i32,
    /// The whole packet.
    pub frame: Vec<u8>,
    pub context: Context,
    /// The counters that moved.
    pub counts: Counts,
    /// What was written to `HANDOFF`, on any CPU.
    pub handoffs: Vec<Handoff>,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { return_value, frame, context, counts, handoffs } = self;
        write!(
            f,
            "returned {return_value}, {context:x?}, {counts:?}, {handoffs:x?}, {} bytes ",
            frame.len()
        )?;
        frame.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Counters that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets and bytes.
    pub reasons: BTreeMap<(Verdict, Reason), (u64, u64)>,
    /// Connections, unavailable and taken, by the route's slot.
    pub routes: BTreeMap<u32, (u64, u64, u64)>,
}

impl Counts {
    /// What was added since.
    pub fn since(&self, before: &Self) -> Self {
        let reasons = self.reasons.iter().map(|(key, now)| {
            let was = before.reasons.get(key).copied().unwrap_or_default();
            (*key, (now.0 - was.0, now.1 - was.1))
        });
        let routes = self.routes.iter().map(|(key, now)| {
            let was = before.routes.get(key).copied().unwrap_or_default();
            (*key, (now.0 - was.0, now.1 - was.1, now.2 - was.2))
        });
        Self {
            reasons: reasons.filter(|(_, moved)| *moved != (0, 0)).collect(),
            routes: routes.filter(|(_, moved)| *moved != (0, 0, 0)).collect(),
        }
    }
}

/// Size of `struct __sk_buff` (include/uapi/linux/bpf.h).
pub const CONTEXT_SIZE: usize = 192;

/// The fields of `struct __sk_buff` that a test run takes and gives back. It takes no `vlan_present`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub mark: u32,
    pub priority: u32,
    pub cb: [u32; 5],
    pub gso_size: u32,
}

impl Context {
    /// Offsets of the fields.
    const MARK: usize = 8;
    const PRIORITY: usize = 32;
    const CB: usize = 48;
    const GSO_SIZE: usize = 176;

    /// A packet with this mark, and with something in every other field.
    pub fn of(mark: u32, gso_size: u32) -> Self {
        Self { mark, priority: 7, cb: [1, 2, 3, 4, 5], gso_size }
    }

    /// As the kernel takes it.
    pub fn write(&self) -> [u8; CONTEXT_SIZE] {
        let mut bytes = [0; CONTEXT_SIZE];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(Self::MARK, self.mark);
        put(Self::PRIORITY, self.priority);
        put(Self::GSO_SIZE, self.gso_size);
        for (index, word) in self.cb.into_iter().enumerate() {
            put(Self::CB + index * 4, word);
        }
        bytes
    }

    /// As the kernel gives it back.
    pub fn read(bytes: &[u8; CONTEXT_SIZE]) -> Self {
        let get = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            mark: get(Self::MARK),
            priority: get(Self::PRIORITY),
            cb: std::array::from_fn(|index| get(Self::CB + index * 4)),
            gso_size: get(Self::GSO_SIZE),
        }
    }
}

/// What stands in `HANDOFF` before each run: nothing to take, and no value that a program would write.
pub const UNTOUCHED: Handoff = Handoff {
    state: HandoffState::Empty as u32,
    listener: u32::MAX,
    route: u32::MAX,
    source: Address::v4([0xff; 4]),
    destination: Address::v4([0xff; 4]),
    source_port: 0xffff,
    destination_port: 0xffff,
    family: 0xff,
    protocol: 0xff,
    pad: 0,
};

/// What is to stand there when the segment was handed over.
pub fn handoff(state: HandoffState, segment: &Segment, route: u32, proxy: u32) -> Handoff {
    let (family, source) = entry(segment.source);
    let (_, destination) = entry(segment.destination);
    Handoff {
        state: state as u32,
        listener: listener_index(proxy, family),
        route,
        source,
        destination,
        source_port: segment.source.port(),
        destination_port: segment.destination.port(),
        family: family as u8,
        protocol: segment.protocol as u8,
        pad: 0,
    }
}

fn entry(address: SocketAddr) -> (Family, Address) {
    match address.ip() {
        IpAddr::V4(address) => (Family::V4, Address::v4(address.octets())),
        IpAddr::V6(address) => (Family::V6, Address::v6(address.octets())),
    }
}
