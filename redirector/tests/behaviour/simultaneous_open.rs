//! Simultaneous open (RFC 9293, 3.5): both ends connect to each other, and neither listens.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::support::{
    at_each_hook,
    client::begin,
    frames::Wire,
    world::{FAMILIES, PORT},
};

#[test]
fn a_socket_that_connects_to_the_client_keeps_the_connection_that_the_client_opens_meanwhile() {
    at_each_hook(|world| {
        let proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        // The client's host does not hear the request that its own crosses.
        world.client.output("nft add table inet crossing");
        world.client.output("nft add chain inet crossing input { type filter hook input priority 0 ; }");
        world.client.output("nft add rule inet crossing input tcp flags & (syn|ack) == syn drop");
        for family in FAMILIES {
            // An address of the host's, and one that a transparent socket has.
            for address in [family.node(), family.service()] {
                let ends: [SocketAddr; 2] = [(address, PORT).into(), (family.client(), 41000).into()];
                let wire = Wire::open(&world.client, "to-node");
                let mut host = begin(&world.node, ends[0], ends[1]);
                let (request, _) = wire.segment(|segment| segment.syn && segment.source_port == PORT);
                let mut client = begin(&world.client, ends[1], ends[0]);
                assert_carries(&mut client, &mut host);
                assert_carries(&mut host, &mut client);

                let is_answer = |segment: &etherparse::TcpHeader| {
                    segment.syn && segment.ack && segment.source_port == PORT
                };
                let (answer, _) = wire.segment(is_answer);
                assert!(!request.ack, "the host's socket asked, ");
                assert_eq!(answer.sequence_number, request.sequence_number, "and the same socket answers");
                // The next client's is the proxy's.
                world.assert_reaches((address, PORT), "proxy");
            }
        }
        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [2, 2]);
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (4, 0));
        assert_eq!(summary.packets("steered", "proxy"), 4, "the SYNs that crossed are not among them");
    });
}

#[track_caller]
fn assert_carries(from: &mut TcpStream, to: &mut TcpStream) {
    let sent = from.local_addr().expect("a socket has an address").to_string().into_bytes();
    from.write_all(&sent).expect("write");
    let mut received = vec![0; sent.len()];
    to.read_exact(&mut received).expect("read");
    assert_eq!(received, sent);
}
