//! Packets by the thousand: every truncation, every flag byte, random bytes.

use std::net::SocketAddr;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use redirector_common::{Reason, Verdict};

use crate::{
    effects::Effects,
    packet::{IP, Packet, Segment, flag},
    shapes::icmp_error,
    sockets::{port, taken},
    stage::{MARK, SkLookup, Stage, on_stage, proxy},
    support::world::{FAMILIES, Family},
    table::{Expected, passed, to_proxy},
};

/// The least that every kernel takes for a test run: a byte behind the Ethernet header.
const SHORTEST: usize = IP + 1;

/// Newer kernels refuse to run what ends within its IP header. Such packets are real all the same.
fn is_refused(packet: &Packet) -> bool {
    let header = match packet.frame[12..IP] {
        [0x08, 0x00] => 20,
        [0x86, 0xdd] => 40,
        _ => 0,
    };
    packet.frame.len() < IP + header
}

#[test]
fn what_ends_early_passes_untouched() {
    on_stage(SkLookup::Attached, |stage| {
        let (mut run, mut refused) = (0, 0);
        for family in FAMILIES {
            for packet in stacks(family) {
                for length in SHORTEST..packet.frame.len() {
                    let short = packet.clone().cut(length);
                    if is_refused(&short) && stage.run("tc_ingress", &short, 0).is_err() {
                        refused += 1;
                        continue;
                    }
                    assert_effects(
                        stage,
                        &short,
                        &passed(Reason::Truncated),
                        &format!("{family:?}, {length} bytes of {:02x?}", packet.frame),
                    );
                    run += 1;
                }
            }
        }
        println!(
            "{run} truncated packets run; {refused} ended within the IP header, and this kernel refused them"
        );
    });
}

/// Every stack of headers: TCP and UDP behind IPv4 headers of any length, behind extension headers of IPv6, in a first and in a
/// later fragment, and in an ICMP error.
fn stacks(family: Family) -> Vec<Packet> {
    let plain = [syn(family, 8080), datagram(family, 8380)].map(Segment::packet);
    let mut stacks = Vec::new();
    for packet in plain {
        match family {
            Family::V4 => stacks.extend((5..=15).map(|words| packet.clone().options(words))),
            Family::V6 => stacks.extend((0..=8).map(|headers| packet.clone().extended_by(headers))),
        }
        let long = packet.clone().edit(|frame| frame.extend([7; 32]));
        let length = long.true_length();
        let long = long.stated_length(length);
        stacks.extend([
            long.fragment(0x1111, 0..24),
            long.fragment(0x2222, 24..40),
            long.fragment(0x3333, 0..4),
        ]);
    }
    let kind = if family == Family::V4 { [3, 4] } else { [2, 0] };
    let (own, client) = (taken(family), SocketAddr::new(family.client(), port::ESTABLISHED));
    for answer in [Segment::syn((own, 8080).into(), client), Segment::datagram((own, 8380).into(), client)] {
        stacks.push(icmp_error(family.client(), own, kind, &answer.packet().embedded(usize::MAX)));
    }
    stacks
}

#[test]
fn only_a_syn_opens_a_connection() {
    on_stage(SkLookup::Attached, |stage| {
        for family in FAMILIES {
            for flags in 0..=u8::MAX {
                let opens = flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN;
                let foreign = syn(family, 8080).with(flags).packet();
                let local = Segment { destination: (family.node(), 8080).into(), ..syn(family, 8080) };
                let local = local.with(flags).packet();
                let by_prefix = syn(family, 8081).with(flags).packet();
                let (web, near) = (to_proxy("web", proxy::TRANSPARENT), to_proxy("near", proxy::TRANSPARENT));
                let or_else = |opened, reason| if opens { opened } else { passed(reason) };
                let name = format!("{family:?}, flags {flags:#010b}");
                assert_effects(stage, &foreign, &or_else(web, Reason::NotNew), &name);
                assert_effects(stage, &local, &or_else(web, Reason::Local), &name);
                assert_effects(stage, &by_prefix, &or_else(near, Reason::NotNew), &name);
            }
        }
    });
}

#[test]
fn random_bytes_do_no_harm() {
    on_stage(SkLookup::Attached, |stage| {
        let any_type = prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x0806, 0x1234]);
        let bytes = prop::collection::vec(any::<u8>(), SHORTEST..200);
        let noise = (bytes, any_type).prop_map(|(frame, ether_type)| {
            Packet { frame, ..syn(Family::V4, 8080).packet() }.ether_type(ether_type)
        });
        check(stage, noise);
    });
}

#[test]
fn a_few_wrong_bytes_do_no_harm() {
    on_stage(SkLookup::Attached, |stage| {
        let ports = prop::sample::select(vec![7_u16, 8080, 8081, 8083, 8090, 8091, 8094, 8098, 8099, 9050]);
        let family = prop::sample::select(FAMILIES.to_vec());
        let changes = prop::collection::vec((0_usize..74, any::<u8>()), 0..6);
        let spoiled = (family, ports, any::<u8>(), changes).prop_map(|(family, port, flags, changes)| {
            let packet = syn(family, port).with(flags).packet();
            packet.edit(|frame| {
                for (at, value) in changes {
                    if let Some(byte) = frame.get_mut(at) {
                        *byte = value;
                    }
                }
            })
        });
        check(stage, spoiled);
    });
}

/// Whatever the packets are: none is changed that goes on, and each gets one verdict, which is carried out.
fn check(stage: &mut Stage, packets: impl Strategy<Value = Packet>) {
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    let stage = std::cell::RefCell::new(stage);
    TestRunner::new(config)
        .run(&packets, |packet| {
            let mark = 0x5a5a_0000;
            let effects = match stage.borrow_mut().run("tc_ingress", &packet, mark) {
                Err(_) if is_refused(&packet) => {
                    return Err(TestCaseError::reject("the kernel runs no such packet"));
                }
                effects => effects.expect("run tc_ingress"),
            };
            prop_assert_eq!(effects.counts.reasons.len(), 1);
            let (&(verdict, reason), &count) =
                effects.counts.reasons.iter().next().expect("one counter moved");
            if !matches!(verdict, Verdict::Forwarded | Verdict::Reset) {
                prop_assert_eq!(&effects.frame, &packet.frame);
            }
            prop_assert_eq!(count, (1, packet.frame.len() as u64));
            prop_assert!(is_carried_out(&effects, verdict, reason, mark), "{:?}", effects);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Whether the rest of what happened is what this verdict means.
fn is_carried_out(effects: &Effects, verdict: Verdict, reason: Reason, mark: u32) -> bool {
    let marked = if verdict == Verdict::Steered { mark | MARK } else { mark };
    let action = match verdict {
        Verdict::Dropped => 2,
        Verdict::Forwarded | Verdict::Reset => 7,
        _ => -1,
    };
    let handed_over = usize::from(matches!(reason, Reason::Proxy | Reason::SynCookie));
    effects.return_value == action && effects.context.mark == marked && effects.handoffs.len() == handed_over
}

fn datagram(family: Family, port: u16) -> Segment {
    Segment::datagram((family.client(), port::FRESH).into(), (family.service(), port).into())
}

fn syn(family: Family, port: u16) -> Segment {
    Segment::syn((family.client(), port::FRESH).into(), (family.service(), port).into())
}

#[track_caller]
fn assert_effects(stage: &mut Stage, packet: &Packet, expected: &Expected, name: &str) {
    let expected = stage.effects(packet, 0, expected);
    let found = stage.run("tc_ingress", packet, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(found, expected, "{name}");
}
