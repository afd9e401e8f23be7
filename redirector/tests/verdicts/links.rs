//! The programs for other kinds of links.

use aya::maps::{HashMap, MapData};
use redirector_common::{Protocol, Reason, Verdict, entries::CapturedEntry};

use crate::{
    packet::{IP, Packet, Segment, flag},
    sockets::port,
    stage::{MARK, SkLookup, Stage, on_stage, proxy},
    support::world::{FAMILIES, Family},
    table::{Expected, dropped, forwarded, passed, reset, to_proxy},
};

/// A MAC address that the device of a test run does not have.
const ANOTHER_HOST: [u8; 6] = [2, 0, 0, 0, 0, 9];
const MULTICAST: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];
const BRIDGE: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

#[test]
fn frames_for_other_hosts_are_redirected_at_a_port_of_a_bridge_only() {
    on_stage(SkLookup::Attached, |stage| {
        for family in FAMILIES {
            let web = to_proxy("web", proxy::TRANSPARENT);
            let syn = syn(family, 8080).packet();
            for mac in [ANOTHER_HOST, MULTICAST, BROADCAST] {
                let frame = syn.clone().bytes(0, &mac);
                stage.assert_effects("tc_ingress", &frame, &passed(Reason::OtherHost), &frame.frame);
            }
            for mac in [MULTICAST, BROADCAST] {
                let frame = syn.clone().bytes(0, &mac);
                stage.assert_effects("tc_ingress_port", &frame, &passed(Reason::OtherHost), &frame.frame);
            }
            // The port is not known as one yet.
            let frame = syn.clone().bytes(0, &ANOTHER_HOST);
            stage.assert_effects("tc_ingress_port", &frame, &web, &frame.frame);
            // Its bridge has this address now.
            set_bridge(stage, BRIDGE);
            let brought_up = frame.clone().bytes(0, &BRIDGE);
            stage.assert_effects("tc_ingress_port", &frame, &web, &brought_up.frame);
            let datagram =
                Segment::datagram((family.client(), port::FRESH).into(), (family.service(), 8380).into());
            let frame = datagram.packet().bytes(0, &ANOTHER_HOST);
            let brought_up = frame.clone().bytes(0, &BRIDGE);
            let dns = to_proxy("dns", proxy::UDP);
            stage.assert_effects("tc_ingress_port", &frame, &dns, &brought_up.frame);
            // Nothing else is rewritten, nor is anything that is not steered.
            for (port, expected) in
                [(7, passed(Reason::NoRoute)), (8091, dropped(Reason::DropRoute).connection("refuse"))]
            {
                let frame = self::syn(family, port).packet().bytes(0, &ANOTHER_HOST);
                stage.assert_effects("tc_ingress_port", &frame, &expected, &frame.frame);
            }
            set_bridge(stage, [0; 6]);
        }
    });
}

#[test]
fn packets_that_begin_with_the_ip_header_get_the_same_verdicts() {
    on_stage(SkLookup::Attached, |stage| {
        for family in FAMILIES {
            let client = bare_client(family);
            let to = |port| Segment::syn((client, port::FRESH).into(), (family.service(), port).into());
            let to_node = Segment::syn((client, port::FRESH).into(), (family.node(), 8080).into());
            let datagram =
                |port| Segment { payload: b"a question", protocol: Protocol::Udp, flags: 0, ..to(port) };
            let web = to_proxy("web", proxy::TRANSPARENT);
            for (segment, expected) in [
                (to(7), passed(Reason::NoRoute)),
                (to(8080), web),
                (to_node, web),
                (to(8080).with(flag::ACK), passed(Reason::NotNew)),
                (to_node.with(flag::ACK), passed(Reason::Local)),
                (to(8090), passed(Reason::PassRoute).connection("leave")),
                (to(8091), dropped(Reason::DropRoute).connection("refuse")),
                (to(8094), forwarded().connection("away")),
                (to(8094).with(flag::ACK), forwarded()),
                (to(8096), passed(Reason::NoInterface).unavailable("gone")),
                (to(8099), reset(Reason::NoListener).unavailable("nobody-reset")),
                // The answer to one is shown between namespaces: a test run puts room for it behind what it takes for an
                // Ethernet header.
                (datagram(8380), to_proxy("dns", proxy::UDP)),
                (datagram(8194), forwarded().connection("udp-away")),
            ] {
                let packet = segment.packet();
                let frame = match expected.verdict {
                    // The kernel puts in what an Ethernet header has room for; the test run shows it empty.
                    Verdict::Forwarded => [&[0; IP][..], &packet.clone().after_a_hop().frame[IP..]].concat(),
                    Verdict::Reset => packet.refusal()[IP..].to_vec(),
                    _ => packet.frame[IP..].to_vec(),
                };
                let bare = packet.edit(|frame| drop(frame.drain(..IP)));
                stage.assert_effects("tc_ingress_l3", &bare, &expected, &frame);
            }
            // A test run takes the first bytes for an Ethernet header, and wants a whole IP header behind it.
            let header = if family == Family::V4 { 20 } else { 40 };
            let bare = to(8080).packet().edit(|frame| drop(frame.drain(..IP)));
            for length in IP + header..bare.frame.len() {
                let short = bare.clone().cut(length);
                stage.assert_effects("tc_ingress_l3", &short, &passed(Reason::Truncated), &short.frame);
            }
        }
    });
}

#[test]
fn a_packet_that_carries_the_mark_was_decided_before() {
    on_stage(SkLookup::Attached, |stage| {
        for family in FAMILIES {
            for (flags, port, reason) in [
                (flag::SYN, 8080, Reason::Marked),
                (flag::ACK, 8080, Reason::Marked),
                (flag::SYN, 8091, Reason::Marked),
                (flag::SYN, 8094, Reason::Marked),
                (flag::SYN, 7, Reason::NoRoute),
            ] {
                let packet = syn(family, port).with(flags).packet();
                for mark in [MARK, !0] {
                    let found = stage.run("tc_ingress", &packet, mark).expect("run tc_ingress");
                    assert_eq!(
                        found,
                        stage.effects(&packet, mark, &passed(reason)),
                        "port {port}, mark {mark:#x}"
                    );
                }
            }
        }
    });
}

fn syn(family: Family, port: u16) -> Segment {
    Segment::syn((family.client(), port::FRESH).into(), (family.service(), port).into())
}

/// A client with whose packets a test run does as with those of its family: it reads the type of a frame where the
/// first bytes of the source are here.
fn bare_client(family: Family) -> std::net::IpAddr {
    match family {
        Family::V4 => [8, 0, 0, 2].into(),
        Family::V6 => [0x2001, 0xdb8, 0x86dd, 0, 0, 0, 0, 2].into(),
    }
}

/// As if the device of a test run, the loopback device, were a port of a bridge.
fn set_bridge(stage: &mut Stage, bridge: [u8; 6]) {
    let map = stage.datapath.ebpf().map_mut("CAPTURED").expect("the programs have CAPTURED");
    let mut captured: HashMap<&mut MapData, u32, CapturedEntry> =
        HashMap::try_from(map).expect("it is a hash");
    captured.insert(1, CapturedEntry { bridge, pad: 0 }, 0).expect("write CAPTURED");
}

impl Stage {
    #[track_caller]
    fn assert_effects(&mut self, program: &'static str, packet: &Packet, expected: &Expected, frame: &[u8]) {
        let found = self.run(program, packet, 0).unwrap_or_else(|error| panic!("run {program}: {error}"));
        assert_eq!(found, self.effects_with(packet, 0, expected, frame.to_vec()), "{program}");
    }
}
