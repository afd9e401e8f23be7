//! `redirector explain`: its steps and the loaded program say the same of whatever connection, by whatever routes; and who
//! asks leaves no trace.

use std::net::{IpAddr, SocketAddr};

use aya::{
    maps::{MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use redirector::{
    datapath::{Datapath, Hook, Marking},
    explain::{Explanation, Place, Question, explain},
    host::{self, Link},
    routes::{
        Limits, Origin, Route,
        live::{Change, Live},
    },
};
use redirector_common::{
    Protocol, Reason,
    entries::{Answer, Handoff, HandoffState, TRIAL},
};

use crate::{
    effects::{CONTEXT_SIZE, Context},
    rows,
    sockets::{port, silent, taken},
    stage::{MARK, SkLookup, Stage, on_stage},
    support::{is_soak, world::FAMILIES},
};

/// Route sets, and connections asked about by each.
const SETS: usize = 100;
const FLOWS: usize = 1_000;
/// The part that is run each time; all of it with `cargo xtask test --soak`.
const PART: usize = 20;

const LIMITS: Limits = Limits { routes: 64, prefixes: 512, sources: 512, proxies: 16 };

#[test]
fn every_row_is_answered_as_it_is_counted_and_leaves_no_trace() {
    on_stage(SkLookup::Attached, |stage| {
        let cookies = stage.sockets.cookies.clone();
        for row in rows::attached(&cookies) {
            let (answer, before) = (stage.ask(&row.packet.frame, row.packet.gso_size), stage.traces());
            let route = row.expected.route.map(|(name, _)| stage.route(name));
            let expected = Answer { verdict: row.expected.verdict, reason: row.expected.reason, route };
            assert_eq!(answer, Some(expected), "{}", row.name);
            assert_eq!(stage.traces(), before, "{}", row.name);
        }
        assert_eq!(stage.traces(), (0, 0), "packets counted, and hand-overs that are left");
    });
}

#[test]
fn the_steps_agree_with_the_loaded_program() {
    on_stage(SkLookup::Detached, |_stage| {
        let sets = if is_soak() { SETS } else { SETS / PART };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"the steps agree with the program");
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let mut seen = std::collections::BTreeMap::<_, usize>::new();
        let places = places();
        for set in 0..sets {
            // Each of them without sk_lookup once in a while.
            let (mut live, mut datapath) = self::set(&mut runner, set % 10 != 9);
            let strategy = question();
            for flow in 0..FLOWS {
                let question = strategy.new_tree(&mut runner).expect("a question").current();
                let place = &places[flow % places.len()];
                let explained = explain(question, place, &live, &mut datapath).expect("it is explained");
                let program = explained.program.as_ref().expect("a program was asked");
                assert!(program.agrees, "{}", show(&explained, &mut live));
                *seen.entry(program.outcome.reason.expect("a reason")).or_default() += 1;
            }
            let counted = datapath.counters().expect("read REASONS");
            assert!(counted.iter().all(|(_, _, count)| count.packets == 0), "{counted:?}");
            for slot in 0..LIMITS.routes {
                let totals = datapath.route_totals(slot).expect("read ROUTE_STATS");
                assert_eq!((totals.connections, totals.unavailable, totals.taken), (0, 0, 0));
            }
        }
        println!("{} connections by {sets} sets of routes: {seen:?}", sets * FLOWS);
        // Every way out that a first packet has, but for what is never there (a next hop's interface that just went).
        for reason in [
            Reason::NoRoute,
            Reason::SpecialAddress,
            Reason::PassRoute,
            Reason::DropRoute,
            Reason::Interface,
            Reason::Proxy,
            Reason::Established,
            Reason::Local,
            Reason::NoListener,
            Reason::NotTransparent,
            Reason::MptcpListener,
            Reason::DeviceBound,
            Reason::NoInterface,
            Reason::Detached,
        ] {
            assert!(seen.contains_key(&reason) || (reason == Reason::Detached && sets < 10), "{reason:?}");
        }
    });
}

/// Interfaces as the test's namespace has them.
fn places() -> Vec<Place> {
    let interfaces = host::interfaces().expect("list interfaces");
    let out = interfaces.iter().find(|interface| interface.name == "out").expect("there is one");
    let mac = std::process::Command::new("ip").args(["-o", "link", "show", "out"]).output();
    let text = String::from_utf8(mac.expect("run ip").stdout).expect("it is UTF-8");
    let mac = text.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("its address");
    let mac: Vec<u8> =
        mac.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect();
    let mac: [u8; 6] = mac.try_into().expect("six bytes");
    let place = |index, mac, link| Place { index, mac, captured: Some((Hook::Tcx, link)) };
    vec![
        place(1, None, Link::Ethernet),
        place(out.index, Some(mac), Link::Ethernet),
        place(out.index, Some(mac), Link::BridgePort([2, 0, 0, 0, 0, 0xb])),
        place(out.index, None, Link::Layer3),
    ]
}

/// Random routes, in the maps of programs of their own.
fn set(runner: &mut TestRunner, attached: bool) -> (Live, Datapath) {
    let mut live = Live::new(LIMITS);
    let mut datapath = Datapath::load(&LIMITS, Marking::new(MARK)).expect("load the programs");
    let texts = prop::collection::vec((route(), 0..3_usize), 24).new_tree(runner).expect("routes").current();
    for (number, (text, origin)) in texts.into_iter().enumerate() {
        // Some name families that do not go together.
        let Ok(route) = format!("r{number}:{text}").parse::<Route>() else { continue };
        let origin = [Origin::CommandLine, Origin::Files, Origin::Api][origin];
        // One that ties with another is refused.
        if let Ok(plan) = live.plan(&[Change { origin, remove: Vec::new(), add: vec![route.into()] }]) {
            datapath.apply(&plan.commit()).expect("write the routes");
        }
    }
    datapath.set_locals(&FAMILIES.map(|family| family.node())).expect("write the addresses");
    let interfaces = host::interfaces().expect("list interfaces");
    datapath
        .set_next_hops(|name| interfaces.iter().find(|interface| interface.name == name).cloned())
        .expect("write the next hops");
    if attached {
        datapath.attach_sk_lookup().expect("attach sk_lookup");
    }
    (live, datapath)
}

/// The text of a route, without a name, of few ports and addresses, so that many match the same.
fn route() -> impl Strategy<Value = String> {
    let ports = [
        "8080",
        "8081",
        "8082",
        "8088",
        "8090",
        "8080-8090",
        "8000-8099",
        "8380-8383",
        "1-65535",
        "8080,8085-8088",
    ];
    let destinations = [
        "",
        "",
        "192.0.2.0/24:",
        "192.0.2.10:",
        "192.0.0.0/16:",
        "10.0.1.1:",
        "[2001:db8:2::/64]:",
        "[2001:db8:2::10]:",
        "[2001:db8::/32]:",
        "[2001:db8:1::1]:",
        "192.0.2.0/25,[2001:db8:2::/112]:",
        "224.0.0.0/4,[ff00::/8]:",
    ];
    let targets = [
        "proxy:15001",
        "proxy:15001",
        "proxy:15001",
        "proxy:15002",
        "proxy:15003",
        "proxy:15004",
        "proxy:15005",
        "proxy:15053",
        "proxy:15054",
        "proxy:15055",
        "proxy:127.0.0.1:15006",
        "proxy:8088",
        "interface:hop",
        "interface:gone",
        "interface:hop via 2001:db8:9::2",
        "pass",
        "drop",
    ];
    let sources =
        ["", "", " from 10.0.1.0/24", " from 10.0.0.0/8", " from 10.0.9.2", " from 2001:db8:1::/64"];
    let otherwise = ["", " else drop", " else reset"];
    let one_of = |words: &'static [&'static str]| prop::sample::select(words);
    let protocols = ["", "", "udp/"];
    (
        one_of(Vec::leak(protocols.to_vec())),
        one_of(Vec::leak(ports.to_vec())),
        one_of(Vec::leak(destinations.to_vec())),
        one_of(Vec::leak(targets.to_vec())),
        one_of(Vec::leak(sources.to_vec())),
        one_of(Vec::leak(otherwise.to_vec())),
    )
        .prop_map(|(protocol, ports, destination, target, source, otherwise)| {
            let otherwise = if target == "pass" || target == "drop" { "" } else { otherwise };
            format!("{protocol}{destination}{ports}={target}{source}{otherwise}")
        })
}

fn question() -> BoxedStrategy<Question> {
    let ports = vec![80_u16, 8080, 8081, 8082, 8085, 8088, 8090, 8099, 8380, 8381, 15001];
    let source_ports = vec![0, port::FRESH, port::ESTABLISHED, port::TIME_WAIT, port::HALF_OPEN];
    (
        prop::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp]),
        prop::sample::select(FAMILIES.to_vec()),
        0..5_usize,
        0..4_usize,
        prop::sample::select(ports),
        prop::sample::select(source_ports),
    )
        .prop_map(|(protocol, family, destination, source, port, source_port)| {
            let multicast: IpAddr = match family {
                crate::support::world::Family::V4 => [224, 0, 0, 9].into(),
                crate::support::world::Family::V6 => [0xff02, 0, 0, 0, 0, 0, 0, 9].into(),
            };
            let destination =
                [family.service(), taken(family), family.node(), family.server(), multicast][destination];
            let source = [family.client(), family.client(), silent(family), family.server()][source];
            Question {
                protocol,
                source: SocketAddr::new(source, source_port),
                destination: SocketAddr::new(destination, port),
                interface: "any".to_owned(),
            }
        })
        .boxed()
}

/// All that is to be known of a disagreement.
fn show(explained: &Explanation, live: &mut Live) -> String {
    let routes: Vec<_> =
        live.routes().map(|(_, slot)| format!("{} {}", slot.origin.word(), slot.route)).collect();
    format!("{explained:#?}\n{}", routes.join("\n"))
}

impl Stage {
    /// What the program answers when it is asked about a packet.
    fn ask(&mut self, frame: &[u8], gso_size: u32) -> Option<Answer> {
        let context = Context { cb: [TRIAL, 0, 0, 0, 0], ..Context::of(0, gso_size) };
        let mut context_out = [0; CONTEXT_SIZE];
        let program = self.datapath.classifier("tc_ingress").expect("the programs have it");
        program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context.write()),
                ctx_out: Some(&mut context_out),
                ..TestRunOptions::new()
            })
            .expect("run tc_ingress");
        let [_, outcome, route, ..] = Context::read(&context_out).cb;
        Answer::read([outcome, route])
    }

    /// Packets and connections that were counted, and hand-overs that somebody could take.
    fn traces(&mut self) -> (u64, usize) {
        let packets = self
            .datapath
            .counters()
            .expect("read REASONS")
            .iter()
            .map(|(_, _, count)| count.packets)
            .sum::<u64>();
        let connections: u64 = (0..32)
            .map(|slot| {
                let totals = self.datapath.route_totals(slot).expect("read ROUTE_STATS");
                totals.connections + totals.unavailable + totals.taken
            })
            .sum();
        let map = self.datapath.ebpf().map_mut("HANDOFF").expect("the programs have HANDOFF");
        let handoff: PerCpuArray<&mut MapData, Handoff> =
            PerCpuArray::try_from(map).expect("it is an array per CPU");
        let values = handoff.get(&0, 0).expect("read HANDOFF");
        let given = values.iter().filter(|handoff| handoff.state != HandoffState::Empty as u32).count();
        (packets + connections, given)
    }
}
