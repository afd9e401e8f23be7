//! Valid packets of every stack.

use std::net::IpAddr;

use redirector_common::{Family, Protocol};

use super::{
    Generator, addresses,
    headers::{ACK, chain, segment, tcp, udp, v4, v6},
    mutate, percent, pick,
};
use crate::reference::{Flow, Link, Packet, number};

impl Generator {
    /// One packet, or the fragments of one.
    pub fn valid(&mut self) -> Vec<Packet> {
        let link = pick(&mut self.rng, &Link::ALL);
        if !self.cookies.is_empty() && link != Link::Layer3 && percent(&mut self.rng, 2) {
            return vec![self.cookie(link)];
        }
        let flow = self.flow(link);
        if percent(&mut self.rng, 5) {
            return vec![self.icmp_error(link, &flow)];
        }
        let rng = &mut self.rng;
        let (number, body) = match flow.protocol {
            Protocol::Tcp => (number::TCP, tcp(rng, &flow)),
            Protocol::Udp => (number::UDP, udp(rng, &flow)),
        };
        let body = if percent(rng, 2) {
            (pick(rng, &[1, 2, 47, 50, 58, 59, 132, 255]), body)
        } else {
            (number, body)
        };
        if percent(rng, 6) { self.fragments(link, &flow, body) } else { vec![self.packet(link, &flow, body)] }
    }

    fn packet(&mut self, link: Link, flow: &Flow, (number, body): (u8, Vec<u8>)) -> Packet {
        let ip = match (flow.source, flow.destination) {
            (IpAddr::V4(_), _) => {
                let identification = self.rng.u16(..);
                v4(&mut self.rng, flow, number, &body, identification, 0)
            }
            (IpAddr::V6(_), _) => {
                let (number, body) = chain(&mut self.rng, number, body);
                v6(&mut self.rng, flow, number, &body)
            }
        };
        self.frame(link, flow, ip)
    }

    /// The error that a router sends for what answers this flow.
    fn icmp_error(&mut self, link: Link, flow: &Flow) -> Packet {
        let family = flow.family();
        let rng = &mut self.rng;
        let answer = Flow {
            source: flow.destination,
            destination: flow.source,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
            ..*flow
        };
        let (number, body) = match flow.protocol {
            Protocol::Tcp => (number::TCP, tcp(rng, &answer)),
            Protocol::Udp => (number::UDP, udp(rng, &answer)),
        };
        let number = if percent(rng, 3) { number::OPTIONS } else { number };
        let fragment = if percent(rng, 5) { rng.u16(..3) } else { 0 };
        let (kind, icmp, mut ip) = match family {
            Family::V4 => (
                number::ICMP,
                pick(rng, &[3, 3, 3, 4, 5, 11, 12, 8]),
                v4(rng, &answer, number, &body, 7, fragment),
            ),
            Family::V6 => {
                let (number, body) = chain(rng, number, body);
                (number::ICMP_V6, pick(rng, &[1, 2, 2, 2, 3, 4, 5, 128]), v6(rng, &answer, number, &body))
            }
        };
        // Most quote a part only.
        if percent(rng, 60) {
            ip.truncate(pick(rng, &[28, 28, 40, 48, 48, 60, 27, 47, 100]));
        }
        let error = [&[icmp, rng.u8(..6), 0, 0, 0, 0, 5, 0][..], &ip].concat();
        let router = if percent(rng, 50) { addresses::address(rng, family) } else { flow.source };
        let source = if link == Link::Layer3 { addresses::bare_source(rng, family) } else { router };
        let destination = if percent(rng, 95) { flow.destination } else { addresses::address(rng, family) };
        self.packet(link, &Flow { source, destination, ..*flow }, (kind, error))
    }

    /// The packet in pieces, in order or not, the last sometimes missing.
    fn fragments(&mut self, link: Link, flow: &Flow, (number, body): (u8, Vec<u8>)) -> Vec<Packet> {
        let identification = if percent(&mut self.rng, 80) { self.rng.u32(..) } else { self.rng.u32(..4) };
        let size = pick(&mut self.rng, &[8, 16, 24, 64]);
        let mut pieces = Vec::new();
        for (index, piece) in body.chunks(size).enumerate().take(4) {
            let offset = (index * size / 8) as u16;
            let more = (index + 1) * size < body.len() || percent(&mut self.rng, 5);
            let ip = match flow.source {
                IpAddr::V4(_) => {
                    let flags = if more { 0x2000 } else { 0 };
                    v4(&mut self.rng, flow, number, piece, identification as u16, flags | offset)
                }
                IpAddr::V6(_) => {
                    let field = offset << 3 | u16::from(more);
                    let mut header = vec![number, 0];
                    header.extend(field.to_be_bytes());
                    header.extend(identification.to_be_bytes());
                    header.extend(piece);
                    let (number, body) = if percent(&mut self.rng, 20) {
                        chain(&mut self.rng, number::FRAGMENT, header)
                    } else {
                        (number::FRAGMENT, header)
                    };
                    v6(&mut self.rng, flow, number, &body)
                }
            };
            pieces.push(self.frame(link, flow, ip));
        }
        if percent(&mut self.rng, 30) {
            self.rng.shuffle(&mut pieces);
        }
        if percent(&mut self.rng, 20) {
            pieces.pop();
        }
        pieces
    }

    /// Puts the link's header in front.
    fn frame(&mut self, link: Link, flow: &Flow, ip: Vec<u8>) -> Packet {
        let rng = &mut self.rng;
        let mut bytes = Vec::with_capacity(ip.len() + 22);
        if link != Link::Layer3 {
            let to = match rng.u8(..20) {
                0 => [0xff; 6],
                1 => [1, 0, 0x5e, 0, 0, 1],
                2..5 => [2, 0, 0, 0, 0, rng.u8(..)],
                _ => [0; 6],
            };
            bytes.extend(to);
            bytes.extend([2, 0, 0, 0, 0, 7]);
            if percent(rng, 3) {
                for _ in 0..rng.usize(1..3) {
                    bytes.extend(pick(rng, &[[0x81, 0], [0x88, 0xa8]]));
                    bytes.extend(rng.u16(..).to_be_bytes());
                }
            }
            let ether_type: [u8; 2] = if flow.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
            bytes.extend(if percent(rng, 1) {
                pick(rng, &[[8, 6], [0x88, 0x47], [0x88, 0x64], [0, 40]])
            } else {
                ether_type
            });
        }
        bytes.extend(ip);
        let mark = match rng.u8(..16) {
            0 => self.mark,
            1 => !0,
            2..6 => !self.mark,
            _ => 0,
        };
        let gso_size = if percent(rng, 4) { pick(rng, &[100, 1000, 1400]) } else { 0 };
        let mut packet = Packet { link, bytes, mark, gso_size };
        mutate::fix_checksum(&mut packet);
        packet
    }

    fn flow(&mut self, link: Link) -> Flow {
        let rng = &mut self.rng;
        let known = !self.flows.is_empty() && percent(rng, 15);
        let mut flow = if known {
            self.flows[rng.usize(..self.flows.len())]
        } else {
            let family = pick(rng, &[Family::V4, Family::V6]);
            Flow {
                protocol: if percent(rng, 65) { Protocol::Tcp } else { Protocol::Udp },
                source: addresses::address(rng, family),
                destination: addresses::address(rng, family),
                source_port: pick(rng, &[40000, 40001, 40002, 40003, 40004, 8080, 1, 65535]),
                destination_port: addresses::port(rng),
            }
        };
        if link == Link::Layer3
            && percent(rng, 95)
            && !matches!(flow.source.to_string().as_str(), "8.0.0.2" | "2001:db8:86dd::2")
        {
            flow.source = addresses::bare_source(rng, flow.family());
        }
        if known && percent(rng, 10) {
            flow.protocol = Protocol::Udp;
        }
        flow
    }

    /// The last step of a handshake by SYN cookie, or nearly.
    fn cookie(&mut self, link: Link) -> Packet {
        let (flow, sequence, acknowledgment) = pick(&mut self.rng, &self.cookies);
        let flags = if percent(&mut self.rng, 80) { ACK } else { self.rng.u8(..) };
        let acknowledgment =
            if percent(&mut self.rng, 80) { acknowledgment } else { acknowledgment ^ 1 << 20 };
        let segment = segment(&mut self.rng, &flow, sequence, acknowledgment, flags);
        self.packet(link, &flow, (number::TCP, segment))
    }
}
