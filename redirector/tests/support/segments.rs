//! Segments of TCP among the frames of a wire.

use std::time::Instant;

use etherparse::{PacketHeaders, TcpHeader, TransportHeader};

use super::{DEADLINE, frames::Wire};

impl Wire {
    /// The next segment of a kind, with its data. All else is passed over.
    #[track_caller]
    pub fn segment(&self, is_it: impl Fn(&TcpHeader) -> bool) -> (TcpHeader, Vec<u8>) {
        let begin = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(begin.elapsed());
            assert!(!left.is_zero(), "no such segment among those that came");
            let Some(frame) = self.receive(left) else { continue };
            let Ok(packet) = PacketHeaders::from_ethernet_slice(&frame) else { continue };
            match packet.transport {
                Some(TransportHeader::Tcp(segment)) if is_it(&segment) => {
                    return (segment, packet.payload.slice().to_vec());
                }
                _ => {}
            }
        }
    }
}
