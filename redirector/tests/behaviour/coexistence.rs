//! Packets that are not ours stay as they are, and other programs on the interface see them all.

use crate::support::{
    Listener, at_each_hook,
    frames::{self, ETH_P_IP, ETH_P_IPV6, ETH_P_LOCAL, Wire, flag},
    in_world_at,
    tap::{Place, Tap},
    turnover::turn_over,
    world::{FAMILIES, Family, Hook, PORT, PROXY_PORT},
};

#[test]
fn another_program_before_or_behind_sees_every_packet_as_it_was() {
    for (hook, place, when) in [
        (Hook::Tcx, Place::TcxFirst, When::Later),
        (Hook::Tcx, Place::TcxLast, When::Earlier),
        (Hook::Tcx, Place::TcxLast, When::Later),
        (Hook::Tcx, Place::Clsact(1), When::Earlier),
        (Hook::Clsact, Place::TcxFirst, When::Earlier),
        (Hook::Clsact, Place::Clsact(1), When::Earlier),
        (Hook::Clsact, Place::Clsact(1), When::Later),
        (Hook::Clsact, Place::Clsact(u16::MAX), When::Earlier),
        (Hook::Clsact, Place::Clsact(u16::MAX), When::Later),
    ] {
        println!("the agent at {hook}, another program at {place:?}, attached {when:?}");
        in_world_at(hook, |world| {
            let _proxy = FAMILIES
                .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).closing()));
            let earlier = (when == When::Earlier).then(|| Tap::attach(world, place));
            let agent = world.agent(&["all:8080=proxy:15001"]);
            let tap = earlier.unwrap_or_else(|| Tap::attach(world, place));

            let sent = Wire::open(&world.client, "to-node");
            let wire = Wire::open(&world.client, "to-node");
            let strange = FAMILIES.map(strangers).concat();
            strange.iter().for_each(|(_, frame)| wire.send(frame));
            for family in FAMILIES {
                for address in [family.service(), family.node()] {
                    let turnover = turn_over(&world.client, (address, PORT).into(), "proxy", 2);
                    assert!(turnover.failures.is_empty(), "{:?}", turnover.failures);
                }
            }
            wire.send(&frames::ethernet(ETH_P_LOCAL, &[0; 46]));

            let sent = sent.receive_until_end();
            let seen = tap.wire.receive_until_end();
            assert!(sent.len() > strange.len(), "the capture has the connections too");
            assert_eq!(sent, seen, "what the client sent, and what the other program saw");
            let summary = agent.stop();
            assert_eq!(summary.packets("steered", "proxy"), 8, "strangers are not steered");
        });
    }
}

#[test]
fn a_program_that_was_there_and_accepts_everything_hides_nothing_from_the_agent() {
    for (hook, place) in [
        (Hook::Tcx, Place::TcxFirst),
        (Hook::Tcx, Place::Clsact(1)),
        // Priority 1 is that of others: nothing can be before it.
        (Hook::Clsact, Place::Clsact(2)),
        (Hook::Clsact, Place::Clsact(u16::MAX)),
    ] {
        println!("the agent at {hook}, another program at {place:?}");
        in_world_at(hook, |world| {
            let _proxy = world.proxy();
            let _tap = Tap::attach_accepting(world, place);
            // One that was killed leaves its filter where the next one wants to be.
            world.agent(&["all:8080=proxy:15001"]).kill();
            let agent = world.agent(&["all:8080=proxy:15001"]);
            for family in FAMILIES {
                for address in [family.service(), family.node()] {
                    world.assert_reaches((address, PORT), "proxy");
                }
            }
            assert_eq!(agent.stop().connections("all"), 4);
        });
    }
}

#[test]
fn what_is_not_a_new_tcp_connection_passes_each_for_its_reason() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let tap = Tap::attach(world, Place::Clsact(u16::MAX));
        let agent = world.agent(&["all:8080=proxy:15001 else drop"]);
        let wire = Wire::open(&world.client, "to-node");
        let strange = FAMILIES.map(strangers).concat();
        strange.iter().for_each(|(_, frame)| wire.send(frame));
        wire.send(&frames::ethernet(ETH_P_LOCAL, &[0; 46]));
        tap.wire.receive_until_end();
        let summary = agent.stop();
        assert_eq!(summary.connections("all"), 0);
        assert!(
            summary.reasons().iter().all(|reason| reason.starts_with("passed ")),
            "{:?}",
            summary.reasons()
        );
        for reason in [
            "not-ip",
            "vlan",
            "truncated",
            "malformed",
            "fragment",
            "extension-header",
            "other-protocol",
            "no-route",
            "special-address",
            "not-new",
        ] {
            let sent = strange.iter().filter(|(why, _)| *why == reason).count() as u64;
            let counted = summary.packets("passed", reason);
            // Hosts speak of themselves too, and the end of the test is marked.
            let others = matches!(reason, "extension-header" | "not-ip");
            assert!(counted == sent || others && counted > sent, "{reason}: {sent} sent, {counted} counted");
        }
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Earlier,
    Later,
}

/// Frames that no route may touch, with the reason for each.
fn strangers(family: Family) -> Vec<(&'static str, Vec<u8>)> {
    let from = (family.client(), 40000).into();
    let to = (family.service(), PORT).into();
    let elsewhere = (family.service(), PORT + 1).into();
    let ip = |protocol, payload: &[u8]| frames::ip(family.client(), family.service(), protocol, payload);
    let syn = frames::tcp(from, to, flag::SYN);
    let segment = frames::tcp_segment(from, to, flag::SYN);
    // Ports 40000 and 8080, as a TCP header has them.
    let datagram = [0x9c, 0x40, 0x1f, 0x90, 0, 12, 0, 0, b'd', b'a', b't', b'a'];
    let tagged = |tag: u16| [&syn[..12], &tag.to_be_bytes(), &[0, 5], &syn[12..]].concat();

    let mut strangers = vec![
        ("no-route", frames::tcp(from, elsewhere, flag::SYN)),
        ("no-route", frames::tcp(from, elsewhere, flag::ACK)),
        ("not-new", frames::tcp(from, to, flag::ACK)),
        ("not-new", frames::tcp(from, to, flag::RST)),
        ("not-new", frames::tcp(from, to, flag::FIN | flag::ACK)),
        ("not-new", frames::tcp(from, to, flag::SYN | flag::ACK)),
        ("not-new", frames::tcp(from, to, flag::SYN | flag::RST)),
        ("not-new", frames::tcp(from, to, 0)),
        ("not-new", frames::tcp(from, to, flag::FIN | flag::PSH | flag::URG)),
        ("no-route", ip(17, &datagram)),
        ("other-protocol", ip(132, &segment)),
        ("other-protocol", ip(47, &segment)),
        ("other-protocol", ip(50, &segment)),
        ("other-protocol", ip(4, &segment)),
        ("truncated", ip(6, &segment[..19])),
        ("truncated", ip(6, &segment[..4])),
        ("vlan", tagged(0x8100)),
        ("vlan", tagged(0x88a8)),
        ("not-ip", frames::ethernet(0x0806, &[0; 28])),
        ("not-ip", frames::ethernet(0x88cc, &[0; 46])),
        ("not-ip", frames::ethernet(46, &[0x42; 46])),
    ];
    let mut header_too_short = syn.clone();
    let header_length = syn.len() - segment.len() + 12;
    header_too_short[header_length] = 4 << 4;
    strangers.push(("malformed", header_too_short));
    match family {
        Family::V4 => strangers.extend(strangers_v4(&syn)),
        Family::V6 => strangers.extend(strangers_v6(family, &syn, &segment)),
    }
    strangers
}

fn strangers_v4(syn: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let changed = |at: usize, bytes: &[u8]| {
        let mut frame = syn.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        if frame[14] & 0xf >= 5 {
            frames::fix_checksum(&mut frame);
        }
        frame
    };
    vec![
        ("fragment", changed(20, &[0x20, 100])), // one in the middle
        ("fragment", changed(20, &[0, 200])),    // the last
        ("fragment", changed(20, &[0x20, 0])),   // the first, too late
        ("malformed", changed(14, &[0x65])),     // version 6
        ("malformed", changed(14, &[0x44])),     // a header of 16 bytes
        ("malformed", changed(16, &[0, 19])),    // shorter than its header
        ("truncated", changed(16, &[0x40, 0])),  // longer than the frame
        ("truncated", frames::ethernet(ETH_P_IP, &syn[14..30])),
        ("truncated", frames::ethernet(ETH_P_IP, &[])),
    ]
}

fn strangers_v6(family: Family, syn: &[u8], segment: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let behind = |next: u8, header: [u8; 8]| {
        frames::ip(family.client(), family.service(), next, &[&header[..], segment].concat())
    };
    let mut version = syn.to_vec();
    version[14] = 0x40;
    vec![
        ("extension-header", behind(43, [6, 0, 4, 1, 0, 0, 0, 0])), // routing, with a segment left
        ("extension-header", behind(51, [6, 0, 0, 0, 0, 0, 0, 0])), // authentication
        ("extension-header", behind(135, [6, 0, 0, 0, 0, 0, 0, 0])), // mobility
        ("extension-header", behind(139, [6, 0, 0, 0, 0, 0, 0, 0])), // host identity
        ("fragment", behind(44, [6, 0, 0, 0x51, 0, 0, 0, 9])),      // one in the middle
        ("fragment", behind(44, [6, 0, 0, 1, 0, 0, 0, 9])),         // the first, too late
        ("malformed", version),
        ("malformed", frames::ip(family.client(), family.service(), 6, &[])), // the length of a jumbogram
        ("truncated", frames::ethernet(ETH_P_IPV6, &syn[14..40])),
    ]
}
