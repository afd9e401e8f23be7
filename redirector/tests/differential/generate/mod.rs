//! What is tried: routes, packets and their mutations, all out of one seeded source.

mod addresses;
mod headers;
mod mutate;
mod packets;
mod routes;

use fastrand::Rng;
pub use routes::{interface, routes};

use crate::reference::{Flow, Packet};

/// Makes packets for a host with these connections.
pub struct Generator {
    rng: Rng,
    /// Flows of packets to connections that there are.
    flows: Vec<Flow>,
    /// Acknowledgements of SYN cookies.
    cookies: Vec<(Flow, u32, u32)>,
    mark: u32,
    /// The last packets, for splices.
    last: Vec<Vec<u8>>,
}

impl Generator {
    /// With a seed, by which everything is the same again if the host is.
    pub fn new(seed: u64, mark: u32, flows: Vec<Flow>, cookies: Vec<(Flow, u32, u32)>) -> Self {
        Self { rng: Rng::with_seed(seed), flows, cookies, mark, last: Vec::new() }
    }

    /// Some packets that belong together, each whole or spoilt.
    pub fn packets(&mut self) -> Vec<Packet> {
        let mut packets = self.valid();
        if self.rng.u8(..) < 110 {
            for packet in &mut packets {
                mutate::spoil(&mut self.rng, packet, &self.last);
            }
        }
        if let Some(packet) = packets.first() {
            self.last.push(packet.bytes.clone());
            if self.last.len() > 64 {
                self.last.swap_remove(self.rng.usize(..64));
            }
        }
        packets
    }
}

/// One of them.
fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

/// Whether a thing happens that happens so often, in 100.
fn percent(rng: &mut Rng, often: u8) -> bool {
    rng.u8(..100) < often
}
