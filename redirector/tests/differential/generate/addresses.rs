//! Addresses and ports: those that routes and sockets have, and those next to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use redirector_common::Family;

use super::{percent, pick};

/// Destinations: services, the node, taken ones, neighbours of prefixes, and special ones.
const V4: &[[u8; 4]] = &[
    [192, 0, 2, 1],
    [192, 0, 2, 10],
    [10, 0, 1, 1],
    [10, 0, 1, 2],
    [10, 0, 9, 2],
    [192, 0, 2, 77],
    [192, 0, 2, 255],
    [192, 0, 3, 0],
    [192, 0, 1, 255],
    [10, 0, 0, 255],
    [10, 0, 2, 0],
    [8, 0, 0, 2],
    [8, 0, 0, 3],
    [8, 0, 255, 255],
    [8, 1, 0, 0],
    [198, 51, 100, 7],
    [128, 0, 0, 0],
    [127, 255, 255, 255],
    [126, 255, 255, 255],
    [127, 0, 0, 1],
    [1, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 1],
    [169, 253, 255, 255],
    [169, 254, 1, 1],
    [169, 255, 0, 0],
    [223, 255, 255, 255],
    [224, 0, 0, 1],
    [240, 0, 0, 1],
    [255, 255, 255, 255],
];

const V6: &[[u16; 8]] = &[
    [0x2001, 0xdb8, 2, 0, 0, 0, 0, 1],
    [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10],
    [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1],
    [0x2001, 0xdb8, 1, 0, 0, 0, 0, 2],
    [0x2001, 0xdb8, 9, 0, 0, 0, 0, 2],
    [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x77],
    [0x2001, 0xdb8, 2, 0, 1, 0, 0, 1],
    [0x2001, 0xdb8, 2, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff],
    [0x2001, 0xdb8, 3, 0, 0, 0, 0, 0],
    [0x2001, 0xdb8, 0x86dd, 0, 0, 0, 0, 2],
    [0x2001, 0xdb8, 0x86dd, 0, 0, 0, 0, 3],
    [0x2001, 0xdb9, 0x86dd, 0, 0, 0, 0, 2],
    [0xfd00, 0, 0, 0, 0, 0, 0, 1],
    [0xfdff, 0xffff, 0, 0, 0, 0, 0, 1],
    [0xfe80, 0, 0, 0, 0, 0, 0, 1],
    [0xfebf, 0xffff, 0, 0, 0, 0, 0, 1],
    [0xfec0, 0, 0, 0, 0, 0, 0, 1],
    [0xfe7f, 0xffff, 0, 0, 0, 0, 0, 1],
    [0xff02, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201],
    [0, 0, 0, 1, 0, 0, 0, 1],
    [0x64, 0xff9b, 0, 0, 0, 0, 0xc000, 0x201],
];

/// Prefixes that routes name; most of them have or touch one of the addresses.
pub const PREFIXES: &[&str] = &[
    "0.0.0.0/0",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.0.1.0/24",
    "10.0.1.1/32",
    "10.0.1.2/32",
    "8.0.0.0/16",
    "8.0.0.2/32",
    "192.0.2.0/24",
    "192.0.2.0/25",
    "192.0.2.1/32",
    "192.0.2.10/32",
    "169.254.0.0/16",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/64",
    "2001:db8:1::2/128",
    "2001:db8:86dd::/48",
    "2001:db8:2::/64",
    "2001:db8:2::/48",
    "2001:db8:2::1/128",
    "2001:db8:2::10/128",
    "fd00::/8",
    "fe80::/10",
];

/// Ports that routes name, that sockets have, or that are next to such.
pub const PORTS: &[u16] = &[
    8080, 8081, 8082, 8088, 8090, 8079, 22, 53, 80, 443, 9000, 9050, 9099, 9100, 15001, 15002, 15003, 15004,
    15005, 15006, 40001, 1, 65535,
];

/// Of its family.
pub fn address(rng: &mut Rng, family: Family) -> IpAddr {
    match family {
        Family::V4 => {
            // The first are the common ones.
            let bytes = if percent(rng, 60) { pick(rng, &V4[..6]) } else { pick(rng, V4) };
            Ipv4Addr::from(if percent(rng, 3) { rng.u32(..).to_be_bytes() } else { bytes }).into()
        }
        Family::V6 => {
            let words = if percent(rng, 60) { pick(rng, &V6[..6]) } else { pick(rng, V6) };
            let address = Ipv6Addr::from(words);
            if percent(rng, 3) { Ipv6Addr::from(rng.u128(..)).into() } else { address.into() }
        }
    }
}

/// A source by which a test run takes a packet without Ethernet header for one of its family: it reads the type of a frame
/// where the beginning of the source stands.
pub fn bare_source(rng: &mut Rng, family: Family) -> IpAddr {
    match family {
        Family::V4 if percent(rng, 50) => Ipv4Addr::new(8, 0, 0, 2).into(),
        Family::V4 => Ipv4Addr::new(8, 0, rng.u8(..), rng.u8(..4)).into(),
        Family::V6 if percent(rng, 80) => Ipv6Addr::new(0x2001, 0xdb8, 0x86dd, 0, 0, 0, 0, 2).into(),
        Family::V6 => {
            let [first, second] =
                pick(rng, &[[0x2001, 0xdb8], [0xfd00, 0], [0xfe80, 0], [0xff02, 0], [0, 0]]);
            Ipv6Addr::new(first, second, 0x86dd, 0, 0, 0, 0, rng.u16(..4)).into()
        }
    }
}

/// A destination port.
pub fn port(rng: &mut Rng) -> u16 {
    match rng.u8(..20) {
        0..16 => pick(rng, PORTS),
        16 => rng.u16(..),
        17 => 9000 + rng.u16(..110),
        18 => 0,
        _ => 8000 + rng.u16(..100),
    }
}
