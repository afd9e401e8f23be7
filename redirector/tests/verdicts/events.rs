//! What is told of new connections: of each row whose packet opens one, and that a route decides or whose port one names, one
//! event, which says what was counted.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use redirector::datapath::FlowReader;
use redirector_common::{
    Family, Protocol, Reason,
    entries::{EventSettings, FlowEvent},
};

use crate::{
    packet::{Packet, Segment, flag},
    rows,
    sockets::port,
    stage::{SkLookup, on_stage},
    support::world::FAMILIES,
};

const EVERYTHING: EventSettings = EventSettings { per_second: u32::MAX, watched: 1, all: 1, pad: 0 };

#[test]
fn a_row_that_opens_a_connection_is_told_of_once() {
    on_stage(SkLookup::Attached, |stage| {
        let mut reader = stage.datapath.flow_reader().expect("open the events");
        let cookies = stage.sockets.cookies.clone();
        let mut told = 0;
        let (mut datagrams, mut is_told) = (HashSet::new(), HashSet::new());
        for all in [0, 1] {
            reader.set(EventSettings { all, ..EVERYTHING }).expect("write EVENTS");
            for row in rows::attached(&cookies) {
                stage.run("tc_ingress", &row.packet, 0).expect("run tc_ingress");
                let events: Vec<_> = reader.by_ref().collect();
                let name = &row.name;
                let is_datagram = row.packet.segment.protocol == Protocol::Udp;
                let key = (row.packet.segment.source, row.packet.segment.destination);
                // Of datagrams one of a flow is told of, in a minute.
                let is_known = is_datagram && !datagrams.insert(key);
                let Some(event) = events.first() else {
                    if is_known {
                        continue;
                    }
                    assert!(row.expected.route.is_none(), "{name}: a route decided, and nothing is told");
                    continue;
                };
                told += 1;
                assert_eq!(events.len(), 1, "{name}");
                let opens =
                    row.packet.segment.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN;
                assert!(if is_datagram { !is_told.contains(&key) } else { opens }, "{name}");
                if is_datagram {
                    is_told.insert(key);
                }
                assert_eq!(
                    (event.verdict, event.reason),
                    (row.expected.verdict as u8, row.expected.reason as u8),
                    "{name}"
                );
                let route = row.expected.route.map_or(FlowEvent::NO_ROUTE, |(route, _)| stage.route(route));
                let unnamed = event.route == FlowEvent::NO_PORT;
                assert!(
                    event.route == route || unnamed && all == 1 && row.expected.reason == Reason::NoRoute,
                    "{name}"
                );
                let Segment { source, destination, .. } = row.packet.segment;
                assert_eq!(ends(event), (source, destination), "{name}");
                assert_eq!(event.ifindex, 1, "{name}");
            }
        }
        assert!(told > 100, "{told}");
        assert_eq!(reader.lost().expect("read EVENT_LOSSES").full, 0);
    });
}

#[test]
fn ports_that_no_route_names_are_told_of_only_where_somebody_wants_all() {
    on_stage(SkLookup::Attached, |stage| {
        let mut reader = stage.datapath.flow_reader().expect("open the events");
        for family in FAMILIES {
            for (settings, count) in [
                (EventSettings { all: 0, ..EVERYTHING }, 0),
                (EVERYTHING, 1),
                (EventSettings { per_second: 0, all: 0, ..EVERYTHING }, 0),
            ] {
                reader.set(settings).expect("write EVENTS");
                let syn = syn(family, 7);
                for packet in [syn.clone(), Segment { ..syn.segment }.with(flag::ACK).packet()] {
                    stage.run("tc_ingress", &packet, 0).expect("run tc_ingress");
                }
                let events: Vec<_> = reader.by_ref().collect();
                assert_eq!(events.len(), count, "{settings:?}");
                assert!(events.iter().all(|event| event.route == FlowEvent::NO_PORT));
            }
        }
    });
}

#[test]
fn datagrams_are_told_of_once_for_each_flow_and_only_while_somebody_watches() {
    on_stage(SkLookup::Attached, |stage| {
        let mut reader = stage.datapath.flow_reader().expect("open the events");
        for family in FAMILIES {
            let datagram = |port| {
                Segment::datagram((family.client(), port).into(), (family.service(), 8380).into()).packet()
            };
            for (watched, port, count) in
                [(0, 5000, 0), (1, 5000, 1), (1, 5000, 0), (1, 5001, 1), (0, 5002, 0)]
            {
                reader.set(EventSettings { watched, all: 0, ..EVERYTHING }).expect("write EVENTS");
                for _ in 0..3 {
                    stage.run("tc_ingress", &datagram(port), 0).expect("run tc_ingress");
                }
                let events: Vec<_> = reader.by_ref().collect();
                assert_eq!(events.len(), count, "watched {watched}, port {port}");
                assert!(events.iter().all(|event| event.protocol == Protocol::Udp as u8));
            }
        }
    });
}

#[test]
fn no_more_are_told_in_a_second_than_may_be_and_the_rest_are_counted() {
    on_stage(SkLookup::Attached, |stage| {
        let mut reader = stage.datapath.flow_reader().expect("open the events");
        const MOST: u64 = 10;
        reader.set(EventSettings { per_second: MOST as u32, ..EVERYTHING }).expect("write EVENTS");
        let begin = std::time::Instant::now();
        for number in 0..500 {
            let packet = syn(FAMILIES[number % 2], 8080);
            stage.run("tc_ingress", &packet, 0).expect("run tc_ingress");
        }
        let told = count(&mut reader);
        let lost = reader.lost().expect("read EVENT_LOSSES").rate;
        assert_eq!(told + lost, 500);
        assert!((MOST..=MOST * (begin.elapsed().as_secs() + 2)).contains(&told), "{told}");
    });
}

fn count(reader: &mut FlowReader) -> u64 {
    reader.count() as u64
}

fn syn(family: crate::support::world::Family, to: u16) -> Packet {
    Segment::syn((family.client(), port::FRESH).into(), (family.service(), to).into()).packet()
}

fn ends(event: &FlowEvent) -> (SocketAddr, SocketAddr) {
    let family = if event.family == Family::V4 as u8 { Family::V4 } else { Family::V6 };
    let of = |address: &redirector_common::Address, port| -> SocketAddr {
        let ip: IpAddr = address.ip(family);
        (ip, port).into()
    };
    (of(&event.source, event.source_port), of(&event.destination, event.destination_port))
}
