//! Packets in fragments, in the order in which these come: whole to where the first goes, or whole past it.

use std::time::Duration;

use redirector_common::{Reason, Verdict, entries::FRAGMENTS};

use crate::{
    packet::{IP, Packet, Segment},
    shapes::{Extension, number},
    sockets::{port, silent, taken},
    stage::{SkLookup, on_stage, proxy},
    support::world::{FAMILIES, Family},
    table::{Expected, dropped, forwarded, marked, passed, to_proxy},
};
use cases::{Case, by_route, cases, datagram, syn};
use parts::{PAYLOAD, Parts};
use run::Run;

mod cases;
mod parts;
mod run;

#[test]
fn later_fragments_get_what_the_first_got() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            for Case { name, segment, first, later } in cases(family) {
                let parts = run.parts(segment);
                run.step(name, &parts.first, &first);
                run.step(name, &parts.middle, &later);
                run.step(name, &parts.last, &later);
                // The same again, and what covers what was there before.
                run.step(name, &parts.last, &later);
                run.step(name, &parts.first, &first);
                run.step(name, &parts.overlapping, &later);
                run.step(name, &parts.middle, &later);
            }
        }
        run.finish();
    });
}

#[test]
fn a_first_fragment_behind_another_passes_as_that_did_unless_it_is_dropped() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            for Case { name, segment, first, .. } in cases(family) {
                let parts = run.parts(segment);
                let fragment = passed(Reason::Fragment);
                let first = match first.verdict {
                    Verdict::Dropped | Verdict::Reset => first,
                    _ if first.reason == Reason::NoRoute => first,
                    _ => fragment,
                };
                run.step(name, &parts.last, &fragment);
                run.step(name, &parts.first, &first);
                run.step(name, &parts.middle, &fragment);
                run.step(name, &parts.first, &first);
            }
        }
        run.finish();
    });
}

#[test]
fn fragments_to_this_host_are_left_to_it() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            for segment in
                [syn(family, 8080), syn(family, 8091), datagram(family, 8380), datagram(family, 8191)]
            {
                let destination = (family.node(), segment.destination.port()).into();
                let parts = run.parts(Segment { destination, ..segment });
                for part in [&parts.first, &parts.last, &parts.middle, &parts.tiny] {
                    run.step("to the node", part, &passed(Reason::Fragment));
                }
            }
        }
        assert_eq!(run.stage.fragments().keys().count(), 0, "no fragment to the node is written down");
    });
}

#[test]
fn a_first_fragment_without_its_ports_passes_and_so_does_the_rest() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        let fragment = passed(Reason::Fragment);
        for family in FAMILIES {
            for (segment, least) in [(syn(family, 8080), 24), (datagram(family, 8380), 8)] {
                let first = by_route(segment);
                let parts = run.parts(segment);
                run.step("tiny", &parts.tiny, &fragment);
                run.step("behind a tiny one", &parts.middle, &fragment);
                run.step("a whole one behind a tiny one", &parts.first, &first);
                run.step("behind that", &parts.middle, &marked(Reason::Fragment));
                run.step("tiny again", &parts.tiny, &fragment);
                run.step("behind that again", &parts.middle, &fragment);
                for length in (8..32).step_by(8) {
                    let parts = run.parts(segment);
                    let expected = if length >= least { first } else { fragment };
                    run.step(&format!("the first {length} bytes"), &parts.first_of(length), &expected);
                }
            }
            // All that is before the transport header belongs to the first fragment, or to none.
            if family == Family::V6 {
                let options = Extension::padding(number::DESTINATION, 2);
                for cut in [0, 8, 15] {
                    let id = run.identification();
                    let chain = [Extension::fragment(id.into(), 0, true), options.clone()];
                    let frame = syn(family, 8080).packet().extended(&chain);
                    let short = frame.clone().cut(IP + 40 + 8 + cut).stated_length(8 + cut);
                    run.step("options that are cut", &short, &fragment);
                    let short = frame.clone().cut(IP + 40 + 8 + cut);
                    run.step("options beyond the packet", &short, &passed(Reason::Truncated));
                }
            }
        }
        run.finish();
    });
}

#[test]
fn headers_of_fragments_are_checked_as_those_of_packets_are() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            let parts = run.parts(syn(family, 8080));
            for part in [&parts.first, &parts.middle] {
                let short = part.clone().cut(part.frame.len() - 1);
                run.step("the last byte is missing", &short, &passed(Reason::Truncated));
                let none = part.clone().stated_length(0);
                run.step("a length of 0", &none, &passed(Reason::Malformed));
            }
            // Nothing was written down of these: the rest of what never began.
            run.step("behind nothing", &parts.last, &passed(Reason::Fragment));
            let parts = run.parts(syn(family, 8080));
            let tcp = parts.transport();
            let doff = parts.first.clone().byte(tcp + 12, 4 << 4);
            run.step("a TCP header of 4 words", &doff, &passed(Reason::Malformed));
            let parts = run.parts(datagram(family, 8380));
            let says = |length: u16| parts.first.clone().bytes(parts.transport() + 4, &length.to_be_bytes());
            for length in 0..8 {
                run.step("a datagram of too few bytes", &says(length), &passed(Reason::Malformed));
            }
            for length in [8, 24, 25, 1000, 65535] {
                let dns = to_proxy("dns", proxy::UDP);
                run.step("a datagram, of which more follows", &says(length), &dns);
            }
        }
        run.finish();
    });
}

#[test]
fn what_is_not_for_us_is_not_written_down() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            let parts = run.parts(syn(family, 8080));
            let first = to_proxy("web", proxy::TRANSPARENT);
            let overheard = |part: &Packet| part.clone().bytes(0, &[2, 0, 0, 0, 0, 9]);
            run.step("overheard", &overheard(&parts.first), &passed(Reason::OtherHost));
            run.step("overheard", &overheard(&parts.middle), &passed(Reason::OtherHost));
            run.step("overheard", &overheard(&parts.tiny), &passed(Reason::OtherHost));
            run.step("a first one", &parts.first, &first);
            run.step("overheard", &overheard(&parts.first), &passed(Reason::OtherHost));
            // By a captured port of a bridge first, then by the bridge itself.
            run.marked_step("marked", &parts.first, &passed(Reason::Marked));
            run.marked_step("marked", &parts.middle, &passed(Reason::Marked));
            run.step("a later one", &parts.middle, &marked(Reason::Fragment));
        }
        run.finish();
    });
}

#[test]
fn fragments_of_one_packet_are_known_by_all_that_is_in_the_key() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            let id = run.identification();
            let of = |segment: Segment, id| Parts::of(Segment { payload: &PAYLOAD, ..segment }, id);
            let parts = of(syn(family, 8080), id);
            run.step("a first one", &parts.first, &to_proxy("web", proxy::TRANSPARENT));
            let another = Segment { source: (silent(family), port::FRESH).into(), ..syn(family, 8080) };
            run.step("of another source", &of(another, id).middle, &passed(Reason::Fragment));
            let another = Segment { destination: (taken(family), 8080).into(), ..syn(family, 8080) };
            run.step("to another destination", &of(another, id).middle, &passed(Reason::Fragment));
            let other_id = run.identification();
            run.step("of another packet", &of(syn(family, 8080), other_id).middle, &passed(Reason::Fragment));
            let udp = of(datagram(family, 8380), id).middle;
            // Of what is next an IPv6 fragment says nothing, unless it is the first.
            let expected =
                if family == Family::V4 { passed(Reason::Fragment) } else { marked(Reason::Fragment) };
            run.step("of another protocol", &udp, &expected);
            // The ports are not in it.
            let another = of(syn(family, 7), id).middle;
            run.step("of whatever port", &another, &marked(Reason::Fragment));
            // The number is used again, for what goes nowhere.
            run.step("without a route", &of(syn(family, 7), id).first, &passed(Reason::NoRoute));
            run.step("behind that", &parts.middle, &passed(Reason::Fragment));
        }
        run.finish();
    });
}

#[test]
fn what_became_of_a_packet_is_forgotten_after_half_a_minute() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            for (age, is_known) in [(0, true), (29, true), (31, false), (100_000, false)] {
                let parts = run.parts(syn(family, 8080));
                run.step("a first one", &parts.first, &to_proxy("web", proxy::TRANSPARENT));
                run.stage.age(Duration::from_secs(age));
                let later = if is_known { marked(Reason::Fragment) } else { passed(Reason::Fragment) };
                run.step(&format!("after {age} s"), &parts.middle, &later);

                let parts = run.parts(syn(family, 8080));
                run.step("a later one", &parts.middle, &passed(Reason::Fragment));
                run.stage.age(Duration::from_secs(age));
                let first =
                    if is_known { passed(Reason::Fragment) } else { to_proxy("web", proxy::TRANSPARENT) };
                run.step(&format!("a first one after {age} s"), &parts.first, &first);
            }
        }
        run.finish();
    });
}

#[test]
fn what_is_to_come_goes_to_no_other_next_hop_than_the_first_did() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        let sent_on = Expected { reason: Reason::Fragment, ..forwarded() };
        let begun: Vec<_> = FAMILIES
            .map(|family| {
                let [tcp, udp, steered] = [syn(family, 8094), datagram(family, 8194), syn(family, 8080)];
                let [tcp, udp, steered] = [tcp, udp, steered].map(|segment| run.parts(segment));
                run.step("TCP", &tcp.first, &forwarded().connection("away"));
                run.step("UDP", &udp.first, &forwarded().connection("udp-away"));
                run.step("to a proxy", &steered.first, &to_proxy("web", proxy::TRANSPARENT));
                for parts in [&tcp, &udp] {
                    run.step("before the change", &parts.middle, &sent_on);
                }
                (tcp, udp, steered)
            })
            .into();
        run.stage.replace_next_hop("away", "lo");
        for (tcp, udp, steered) in &begun {
            for parts in [tcp, udp] {
                run.step("behind the change", &parts.last, &dropped(Reason::Fragment));
            }
            run.step("to the proxy all the same", &steered.last, &marked(Reason::Fragment));
        }
        // What begins now goes there whole.
        for family in FAMILIES {
            let parts = run.parts(syn(family, 8094));
            run.step("a new one", &parts.first, &forwarded().connection("away"));
            run.step("the rest of it", &parts.middle, &sent_on);
        }
        run.finish();
    });
}

#[test]
fn the_oldest_packets_give_way_to_new_ones() {
    on_stage(SkLookup::Attached, |stage| {
        let mut run = Run::new(stage);
        for family in FAMILIES {
            let mut last = run.parts(syn(family, 8080));
            for _ in 0..FRAGMENTS * 3 / 2 {
                last = run.parts(syn(family, 8080));
                run.stage.run_unseen("tc_ingress", &last.first);
            }
            run.stage.look_away();
            run.step("the last", &last.middle, &marked(Reason::Fragment));
            let known = run.stage.fragments().keys().count();
            assert!(known <= FRAGMENTS as usize, "{known} packets are known");
        }
        run.finish();
    });
}
