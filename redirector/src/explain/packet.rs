//! The packet that opens a connection, as it would come in.

use redirector_common::{Family, Flow, Protocol};

use crate::host::Link;

const HOPS: u8 = 64;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A SYN, or a datagram without data, in a frame to an interface with this MAC address. It has no checksums, which no program
/// reads.
pub fn opening(flow: &Flow, mac: [u8; 6], link: Link) -> Vec<u8> {
    let mut frame = match link {
        // The loopback device stands in, whose address is zero.
        Link::Layer3 => vec![0; 6],
        Link::Ethernet | Link::BridgePort(_) => mac.to_vec(),
    };
    // Nobody's, locally administered.
    frame.extend([2, 0, 0, 0, 0, 0]);
    let transport = transport(flow);
    let protocol = match flow.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    let (source, destination) = (flow.source.octets(), flow.destination.octets());
    match flow.family {
        Family::V4 => {
            let length = (20 + transport.len() as u16).to_be_bytes();
            frame.extend([0x08, 0x00, 0x45, 0, length[0], length[1], 0, 0, 0, 0, HOPS, protocol, 0, 0]);
            frame.extend(&source[..4]);
            frame.extend(&destination[..4]);
        }
        Family::V6 => {
            let length = (transport.len() as u16).to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, HOPS]);
            frame.extend(source);
            frame.extend(destination);
        }
    }
    frame.extend(transport);
    frame
}

fn transport(flow: &Flow) -> Vec<u8> {
    const SYN: u8 = 0x02;
    let mut header = flow.source_port.to_be_bytes().to_vec();
    header.extend(flow.destination_port.to_be_bytes());
    match flow.protocol {
        // Sequence number 1, five words, a window.
        Protocol::Tcp => header.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]),
        Protocol::Udp => header.extend([0, 8, 0, 0]),
    }
    header
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use redirector_common::Address;

    use super::*;

    #[test]
    fn it_is_what_was_asked_about() {
        for (family, [source, destination]) in [
            (Family::V4, [Address::v4([10, 0, 0, 1]), Address::v4([10, 96, 0, 1])]),
            (Family::V6, [Address::v6([0xfd; 16]), Address::v6([0x20; 16])]),
        ] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let flow =
                    Flow { family, protocol, source, destination, source_port: 50_000, destination_port: 80 };
                let frame = opening(&flow, [2, 0, 0, 0, 0, 7], Link::Ethernet);
                let packet = SlicedPacket::from_ethernet(&frame).expect("it is a packet");
                let addresses: [std::net::IpAddr; 2] = match packet.net.expect("it has addresses") {
                    NetSlice::Ipv4(ip) => {
                        [ip.header().source_addr().into(), ip.header().destination_addr().into()]
                    }
                    NetSlice::Ipv6(ip) => {
                        [ip.header().source_addr().into(), ip.header().destination_addr().into()]
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(addresses, [source.ip(family), destination.ip(family)]);
                let ports = match packet.transport.expect("it has ports") {
                    TransportSlice::Tcp(tcp) => {
                        assert!(tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin());
                        (tcp.source_port(), tcp.destination_port())
                    }
                    TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
                    other => panic!("{other:?}"),
                };
                assert_eq!(ports, (50_000, 80));
            }
        }
    }
}
