//! Ways to spoil a packet.

use fastrand::Rng;

use super::{percent, pick};
use crate::reference::{Link, Packet};

/// The longest packet that a test run takes, with room for what is put in, in bytes.
const LONGEST: usize = 3000;

/// Bytes that mean something somewhere: versions, protocols, next headers, flags, lengths.
const BYTES: &[u8] = &[
    0, 1, 2, 4, 5, 6, 8, 0x10, 0x11, 0x12, 17, 20, 28, 40, 43, 44, 0x45, 0x46, 0x4f, 0x44, 0x50, 50, 51, 58,
    59, 60, 0x60, 64, 132, 135, 139, 140, 0x7f, 0x80, 0xff,
];

/// Spoils it in one to three ways.
pub fn spoil(rng: &mut Rng, packet: &mut Packet, others: &[Vec<u8>]) {
    for _ in 0..rng.usize(1..4) {
        once(rng, packet, others);
    }
    packet.bytes.truncate(LONGEST);
    if percent(rng, 70) {
        fix_checksum(packet);
    }
}

fn once(rng: &mut Rng, packet: &mut Packet, others: &[Vec<u8>]) {
    let network = packet.network();
    let bytes = &mut packet.bytes;
    let length = bytes.len();
    // Most of what matters is in front.
    let at = |rng: &mut Rng| {
        let end = if percent(rng, 85) { length.min(network + 100) } else { length };
        rng.usize(..end.max(1))
    };
    match rng.u8(..16) {
        0..3 => flip(bytes, at(rng), 1 << rng.u8(..8)),
        3 | 4 => set(bytes, at(rng), pick(rng, BYTES)),
        5 => set(bytes, at(rng), rng.u8(..)),
        6 | 7 => bytes.truncate(rng.usize(..=length)),
        8 => bytes.extend((0..rng.usize(1..60)).map(|_| 0)),
        // A length field of IP.
        9 | 10 => {
            let field = network + pick(rng, &[2, 4]);
            let near = [0, length - network.min(length), length, 1, 20, 39, 40, 41, 59, 60, 65535];
            let value = (pick(rng, &near) as u16).wrapping_add(rng.u16(..5)).wrapping_sub(2);
            for (at, byte) in (field..).zip(value.to_be_bytes()) {
                set(bytes, at, byte);
            }
        }
        11 => {
            let at = at(rng).min(bytes.len());
            let count = pick(rng, &[1, 2, 4, 8, 20]);
            let put_in: Vec<u8> = (0..count).map(|_| pick(rng, BYTES)).collect();
            bytes.splice(at..at, put_in);
        }
        12 => {
            let at = at(rng).min(bytes.len());
            let end = (at + pick(rng, &[1, 2, 4, 8, 20])).min(bytes.len());
            bytes.drain(at..end);
        }
        13 => {
            if let Some(other) = (!others.is_empty()).then(|| &others[rng.usize(..others.len())]) {
                let at = at(rng);
                bytes.truncate(at);
                bytes.extend(other.iter().skip(at));
            }
        }
        // The same range from another packet.
        14 => {
            if let Some(other) = (!others.is_empty()).then(|| &others[rng.usize(..others.len())]) {
                let begin = at(rng);
                for at in begin..begin + rng.usize(1..40) {
                    if let Some(byte) = other.get(at) {
                        set(bytes, at, *byte);
                    }
                }
            }
        }
        _ => packet.gso_size = pick(rng, &[0, 1, 500, 1400]),
    }
}

fn flip(bytes: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= bits;
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

/// Makes an IPv4 header's checksum right, if there is one.
pub fn fix_checksum(packet: &mut Packet) {
    let network = packet.network();
    let is_ipv4 = packet.link == Link::Layer3 || packet.bytes.get(12..14) == Some(&[8, 0]);
    let Some(&first) = packet.bytes.get(network).filter(|_| is_ipv4) else { return };
    let length = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || length < 20 || packet.bytes.len() < network + length {
        return;
    }
    let header = &mut packet.bytes[network..network + length];
    header[10..12].fill(0);
    let check = !crate::reference::sum(header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
}
