//! The headers of packets, as bytes.

use std::net::IpAddr;

use fastrand::Rng;

use super::{percent, pick};
use crate::reference::{Flow, number};

const SYN: u8 = 2;
pub const ACK: u8 = 16;

pub fn tcp(rng: &mut Rng, flow: &Flow) -> Vec<u8> {
    let flags = match rng.u8(..20) {
        0..10 => SYN,
        10 => SYN | 0xc0,
        11..15 => ACK,
        15 => SYN | ACK,
        16 => 4,
        17 => 1 | ACK,
        _ => rng.u8(..),
    };
    let (sequence, acknowledgment) = (rng.u32(..), rng.u32(..));
    segment(rng, flow, sequence, acknowledgment, flags)
}

pub fn segment(rng: &mut Rng, flow: &Flow, sequence: u32, acknowledgment: u32, flags: u8) -> Vec<u8> {
    let options = if percent(rng, 30) { rng.u8(..11) } else { 0 };
    let mut bytes = ports(flow);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgment.to_be_bytes());
    bytes.extend([(5 + options) << 4, flags, 4, 0, rng.u8(..), rng.u8(..), 0, 0]);
    bytes.extend(std::iter::repeat_n(1, usize::from(options) * 4));
    data(rng, &mut bytes);
    bytes
}

pub fn udp(rng: &mut Rng, flow: &Flow) -> Vec<u8> {
    let mut bytes = ports(flow);
    bytes.extend([0, 0, rng.u8(..), rng.u8(..)]);
    data(rng, &mut bytes);
    let length = match rng.u8(..20) {
        0 => rng.u16(..10),
        1 => bytes.len() as u16 + rng.u16(..3),
        _ => bytes.len() as u16,
    };
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn ports(flow: &Flow) -> Vec<u8> {
    [flow.source_port.to_be_bytes(), flow.destination_port.to_be_bytes()].concat()
}

fn data(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let length = match rng.u8(..20) {
        0..8 => 0,
        8..18 => rng.usize(..60),
        18 => rng.usize(1150..1350),
        _ => rng.usize(..2000),
    };
    bytes.extend((0..length).map(|index| index as u8));
}

fn hops(rng: &mut Rng) -> u8 {
    if percent(rng, 90) { 64 } else { rng.u8(..4) }
}

/// An IPv4 packet; its checksum is still to be made. `fragment` is the field of flags and offset.
pub fn v4(
    rng: &mut Rng,
    flow: &Flow,
    number: u8,
    body: &[u8],
    identification: u16,
    fragment: u16,
) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (flow.source, flow.destination) else {
        panic!("a flow has one family")
    };
    let options = if percent(rng, 15) { rng.u8(..11) } else { 0 };
    let length = 20 + usize::from(options) * 4;
    // The flag that forbids fragments says nothing about this one.
    let fragment = if fragment == 0 && percent(rng, 50) { 0x4000 } else { fragment };
    let mut bytes = vec![0x45 + options, rng.u8(..)];
    bytes.extend(((length + body.len()) as u16).to_be_bytes());
    bytes.extend(identification.to_be_bytes());
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([hops(rng), number, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(std::iter::repeat_n(1, usize::from(options) * 4));
    bytes.extend(body);
    bytes
}

pub fn v6(rng: &mut Rng, flow: &Flow, number: u8, body: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (flow.source, flow.destination) else {
        panic!("a flow has one family")
    };
    let mut bytes = vec![0x60 | rng.u8(..16), rng.u8(..), rng.u8(..), rng.u8(..)];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([number, hops(rng)]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(body);
    bytes
}

/// Puts extension headers in front, in some packets.
pub fn chain(rng: &mut Rng, number: u8, body: Vec<u8>) -> (u8, Vec<u8>) {
    let count = match rng.u8(..20) {
        0..13 => 0,
        13..16 => 1,
        16..18 => 2,
        18 => rng.usize(3..9),
        _ => rng.usize(7..11),
    };
    let (mut number, mut body) = (number, body);
    for left in (0..count).rev() {
        let kind = match rng.u8(..20) {
            0..4 if left == 0 => number::HOP_BY_HOP,
            4..8 => number::ROUTING,
            8 => number::FRAGMENT,
            9 => pick(rng, &[number::AUTHENTICATION, 135, 139, 140, number::HOP_BY_HOP]),
            10 => number::ICMP_V6,
            _ => number::OPTIONS,
        };
        let length = if percent(rng, 90) { rng.u8(..3) } else { rng.u8(..) };
        let mut header = vec![number, length];
        header.resize(if kind == number::FRAGMENT { 8 } else { (usize::from(length) + 1) * 8 }, 0);
        if kind == number::ROUTING {
            header[3] = u8::from(percent(rng, 20));
        }
        if kind == number::FRAGMENT && percent(rng, 20) {
            header[3] = rng.u8(..);
        }
        header.extend(body);
        (number, body) = (kind, header);
    }
    body.truncate(2900);
    (number, body)
}
