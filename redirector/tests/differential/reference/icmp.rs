//! ICMP errors: of what a proxy sent in somebody else's name.

use std::net::IpAddr;

use redirector_common::{Protocol, Reason};

use super::{Decision, Host, Packet, extension, host, ip::Header, number, route::Action, transport::Flow};

/// Length of ICMP's header, and the least of the transport header that there must be, in bytes.
const HEADER: usize = 8;
const LEAST: usize = 8;

/// What becomes of an ICMP packet.
pub fn decide(host: &Host, packet: &Packet, header: &Header) -> Decision {
    let other = Reason::OtherProtocol.into();
    let Some(flow) = flow(packet, header) else { return other };
    let steered = host.rules.port(&flow).is_some_and(|port| port.steered);
    if !steered || host.locals.contains(&flow.destination) {
        return other;
    }
    if let Err(reason) = host.for_us(packet) {
        return reason.into();
    }
    if host.connection(&flow).is_some() {
        return Reason::IcmpError.into();
    }
    // A proxy of UDP needs no socket for each client.
    let by_route = || {
        let rule = host.rules.winner(&flow).map(|index| &host.rules.rules[index])?;
        let is_special = host::is_special(flow.source) || host::is_special(flow.destination);
        Some(matches!(rule.action, Action::Proxy { .. }) && !is_special)
    };
    let is_proxied = flow.protocol == Protocol::Udp && by_route() == Some(true);
    if is_proxied { Reason::IcmpError.into() } else { other }
}

/// The flow, as the client would send it, of which the error speaks.
fn flow(packet: &Packet, header: &Header) -> Option<Flow> {
    let icmp = packet.bytes.get(header.behind..header.end)?;
    let within = icmp.get(HEADER..)?;
    let (source, destination, number, transport): (IpAddr, IpAddr, u8, &[u8]) = match header.source {
        IpAddr::V4(_) => {
            let is_error = matches!(icmp[0], 3 | 4 | 11 | 12);
            let ip = within.get(..20).filter(|_| is_error)?;
            let length = usize::from(ip[0] & 0xf) * 4;
            let is_first = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff == 0;
            if ip[0] >> 4 != 4 || length < 20 || !is_first {
                return None;
            }
            let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).expect("four bytes").into();
            (address(12), address(16), ip[9], within.get(length..)?)
        }
        IpAddr::V6(_) => {
            let is_error = matches!(icmp[0], 1..=4);
            let ip = within.get(..40).filter(|_| is_error && within[0] >> 4 == 6)?;
            let chain = extension::walk(within, 40, within.len(), ip[6]).ok()?;
            if chain.piece.is_some_and(|piece| piece.offset != 0) {
                return None;
            }
            let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).expect("16 bytes").into();
            (address(8), address(24), chain.protocol, within.get(chain.behind..)?)
        }
    };
    let transport = transport.get(..LEAST)?;
    // An error is sent to whoever sent what it speaks of.
    let is_answer = source == header.destination;
    Some(Flow {
        protocol: number::protocol(number).filter(|_| is_answer)?,
        source: destination,
        destination: source,
        source_port: u16::from_be_bytes([transport[2], transport[3]]),
        destination_port: u16::from_be_bytes([transport[0], transport[1]]),
    })
}
