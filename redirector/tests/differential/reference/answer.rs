//! What a packet is made into: the same with a hop less, or the reset that answers it.

use std::net::IpAddr;

use redirector_common::Family;

use super::{Packet, fragment, link::ETHERNET, transport::Segment};

/// Length of a TCP header without options, of a UDP header, and of that of ICMP, in bytes.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;

/// The packet after a hop (RFC 1812, 5.2.1.2), with room for an Ethernet header where it leaves with one and came without.
pub fn after_a_hop(packet: &Packet, family: Family, ethernet: bool) -> Vec<u8> {
    let mut bytes = packet.bytes.clone();
    let start = packet.network();
    if family == Family::V4 {
        let old = word(&bytes, start + 8);
        bytes[start + 8] -= 1;
        let new = word(&bytes, start + 8);
        update(&mut bytes, start + 10, old, new);
    } else {
        bytes[start + 7] -= 1;
    }
    // The kernel fills it in; a test run shows it empty.
    if start == 0 && ethernet { [&[0; ETHERNET][..], &bytes].concat() } else { bytes }
}

/// The reset that answers the segment (RFC 9293, 3.10.7.1), made of it: what is not said here stays.
pub fn reset(packet: &Packet, segment: &Segment) -> Vec<u8> {
    let (start, transport) = (packet.network(), segment.header.behind);
    let mut bytes = packet.bytes[..transport + TCP_HEADER].to_vec();
    turn_frame(packet, &mut bytes);
    // Also the answer to a first piece is whole.
    fragment::clear(&mut bytes, segment, start);
    let length = transport - start + TCP_HEADER;
    let pseudo = match (segment.flow.source, segment.flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            set(&mut bytes, start + 2, &(length as u16).to_be_bytes());
            bytes[start + 8] = 64;
            set(&mut bytes, start + 12, &destination.octets());
            set(&mut bytes, start + 16, &source.octets());
            for at in [start + 2, start + 6, start + 8] {
                let (old, new) = (packet.word(at), word(&bytes, at));
                update(&mut bytes, start + 10, old, new);
            }
            [&destination.octets()[..], &source.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            // Extension headers stay, as options do.
            set(&mut bytes, start + 4, &((length - 40) as u16).to_be_bytes());
            bytes[start + 7] = 64;
            set(&mut bytes, start + 8, &destination.octets());
            set(&mut bytes, start + 24, &source.octets());
            [&destination.octets()[..], &source.octets()].concat()
        }
        mixed => panic!("a packet has one family: {mixed:?}"),
    };
    let (sequence, acknowledgment, flags) = if segment.acknowledges() {
        (segment.acknowledgment, 0, 4)
    } else {
        (0, segment.sequence.wrapping_add(segment.length()), 4 | 16)
    };
    let mut tcp = Vec::with_capacity(TCP_HEADER);
    tcp.extend(segment.flow.destination_port.to_be_bytes());
    tcp.extend(segment.flow.source_port.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledgment.to_be_bytes());
    tcp.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    let check = !sum([&pseudo[..], &[0, 6, 0, TCP_HEADER as u8], &tcp].concat().as_slice());
    set(&mut tcp, 16, &check.to_be_bytes());
    set(&mut bytes, transport, &tcp);
    bytes
}

/// The answer to a datagram: ICMP's port unreachable (RFC 792; RFC 4443, 3.1), with the datagram's IP headers and its own.
/// None where these take more than 128 bytes.
pub fn unreachable(packet: &Packet, segment: &Segment) -> Option<Vec<u8>> {
    let (start, transport) = (packet.network(), segment.header.behind);
    if transport - start > 128 {
        return None;
    }
    let mut quoted = packet.bytes[start..transport + UDP_HEADER].to_vec();
    settle(&mut quoted[transport - start..]);
    let length = ((ICMP_HEADER + quoted.len()) as u16).to_be_bytes();
    let (header, pseudo, kind) = match (segment.flow.source, segment.flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = ((20 + ICMP_HEADER + quoted.len()) as u16).to_be_bytes();
            // "Internetwork control" (RFC 1812, 4.3.2.5), not to be cut into fragments.
            let mut header = vec![0x45, 0xc0, total[0], total[1], 0, 0, 0x40, 0, 64, 1, 0, 0];
            header.extend(destination.octets());
            header.extend(source.octets());
            let check = !sum(&header);
            set(&mut header, 10, &check.to_be_bytes());
            (header, Vec::new(), [3, 3])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0, length[0], length[1], 58, 64];
            let addresses = [destination.octets(), source.octets()].concat();
            header.extend(&addresses);
            (header, [&addresses[..], &[0, 0], &length, &[0, 0, 0, 58]].concat(), [1, 4])
        }
        mixed => panic!("a packet has one family: {mixed:?}"),
    };
    let mut icmp = vec![kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    icmp.extend(quoted);
    let check = !sum(&[&pseudo[..], &icmp].concat());
    set(&mut icmp, 2, &check.to_be_bytes());
    if start == 0 {
        // A test run takes the first bytes for an Ethernet header, and makes room behind them: it shows the first of what is
        // quoted empty.
        icmp[ICMP_HEADER..ICMP_HEADER + ETHERNET].fill(0);
    }
    let mut bytes = packet.bytes[..start].to_vec();
    turn_frame(packet, &mut bytes);
    Some([bytes, header, icmp].concat())
}

/// Gives a datagram's header the checksum that is the same when a device completes it once more, by its sum: the c for which
/// -(s + c) = c, where s is the sum of the other words.
fn settle(udp: &mut [u8]) {
    udp[6..8].fill(0);
    let others = u64::from(sum(udp));
    let check = (u64::from(u16::MAX) - others) * 32_768 % 65_535;
    let check = if check == 0 { u16::MAX } else { check as u16 };
    set(udp, 6, &check.to_be_bytes());
}

/// Addresses a frame to who sent it.
fn turn_frame(packet: &Packet, bytes: &mut [u8]) {
    if packet.network() == ETHERNET {
        bytes[..6].copy_from_slice(&packet.bytes[6..12]);
        bytes[6..12].copy_from_slice(&packet.bytes[..6]);
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Has a checksum follow the change of a word (RFC 1624, equation 3), so that one that is wrong stays so.
fn update(bytes: &mut [u8], check: usize, old: u16, new: u16) {
    let terms = [!word(bytes, check), !old, new].map(u16::to_be_bytes).concat();
    let check_now = !sum(&terms);
    set(bytes, check, &check_now.to_be_bytes());
}

/// The one's complement sum of words (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
