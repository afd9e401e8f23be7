//! The differential test: random packets, routes and hosts, to the programs and to a reference that was written from the
//! documents. Any difference is a fault of one of the two.
//!
//! Each packet goes by BPF_PROG_TEST_RUN through the program of its link (`tc_ingress`, `tc_ingress_port`,
//! `tc_ingress_l3`). Compared are, for each, what is returned, every byte, the mark and the rest of the context, and what
//! is handed over to `sk_lookup`; and for some thousands together all counters of packets and routes.
//!
//! A packet that fails is made small and printed with its seed, as the lines that `kept.txt` has. What once failed stands
//! there, and is tried first.
//!
//! A test run cannot show: a tag that the device has taken off (`vlan_present`), headers outside of the packet's linear
//! part, packets of fewer bytes than an Ethernet header or (with newer kernels) that end within the IP header, what stands
//! behind a `bpf_redirect` (that is, by which interface and to which neighbour a packet leaves), and the segments of a
//! packet that stands for several: of these none is measured against an MTU here.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use redirector_common::Reason;

mod case;
mod compare;
#[allow(dead_code, reason = "the table of verdicts uses the rest")]
#[path = "../verdicts/effects.rs"]
mod effects;
mod generate;
mod listed;
mod others;
#[allow(dead_code, reason = "the table of verdicts uses the rest")]
#[path = "../verdicts/packet.rs"]
mod packet;
mod publish;
mod reference;
mod shrink;
#[allow(dead_code, reason = "the table of verdicts uses the rest")]
#[path = "../verdicts/sockets.rs"]
mod sockets;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use case::{Case, Setting};
use compare::Tally;
use generate::Generator;
use stage::Stage;
use support::{Netns, is_soak};

/// Packets in all: of `cargo xtask test`, and of `cargo xtask test --soak`.
const PACKETS: u64 = 240_000;
const SOAK: u64 = 10_000_000;

/// Packets for each host, for each set of routes on it, and those that are counted together.
const A_HOST: usize = 80_000;
const A_SET: usize = 4_000;
const TOGETHER: usize = 2_000;

/// How long a host is tried, on a slow machine: a connection that is half open lasts a minute.
const LIFETIME: Duration = Duration::from_secs(30);

/// Where seeds begin. Another number is another test.
const SEED: u64 = 0x7ed1_4ec7;

#[test]
fn what_once_failed_agrees() {
    for case in case::read(include_str!("kept.txt")) {
        on_stage(case.setting, |stage| {
            if let Some(difference) = shrink::fails(stage, &case) {
                panic!("{case}\n{}", difference.text);
            }
        });
    }
}

#[test]
fn programs_do_what_the_reference_expects() {
    if !can_run() {
        return;
    }
    let count = if is_soak() { SOAK } else { PACKETS };
    let (begin, next, done) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let (next, done) = (&next, &done);
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("ask for the CPUs");
    let cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let work = |cpu| {
        pin(cpu);
        let mut tally = Tally::default();
        while done.load(Ordering::Relaxed) < count {
            let host = try_host(SEED + next.fetch_add(1, Ordering::Relaxed));
            done.fetch_add(host.run, Ordering::Relaxed);
            tally.add(&host);
        }
        tally
    };
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = cpus.map(|cpu| scope.spawn(move || work(cpu))).collect();
        for worker in workers {
            tally.add(&worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{} packets on {} hosts, {:.0} a second; {} more are refused for test runs",
        tally.run,
        next.load(Ordering::Relaxed),
        tally.run as f64 / seconds,
        tally.refused
    );
    for ((reason, verdict), count) in &tally.outcomes {
        println!("{:18} {:9} {count:>9}", reason.word(), verdict.word());
    }
    let all = Reason::ALL.iter().flat_map(|reason| reason.verdicts().map(move |verdict| (*reason, verdict)));
    // The short test has not every verdict of every reason.
    let is_seen = |(reason, verdict)| match is_soak() {
        true => tally.outcomes.contains_key(&(reason, verdict)),
        false => tally.outcomes.keys().any(|(seen, _)| *seen == reason),
    };
    let missing: BTreeSet<_> = all.filter(|outcome| !is_seen(*outcome)).collect();
    assert!(missing.is_empty(), "no packet has {missing:?}");
}

/// Tries one host with several sets of routes.
fn try_host(seed: u64) -> Tally {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Of three hosts that follow each other each differs.
    let setting = Setting {
        attached: !seed.is_multiple_of(3),
        bridge: seed.is_multiple_of(2),
        own_port: seed % 3 == 1,
    };
    let mut tally = Tally::default();
    on_stage(setting, |stage| {
        let mut flows: Vec<_> = stage.host.connections.keys().copied().collect();
        flows.sort();
        let mut generator = Generator::new(seed, stage.host.mark, flows, stage.host.cookies.clone());
        let begin = Instant::now();
        for _ in 0..A_HOST / A_SET {
            if begin.elapsed() > LIFETIME {
                return;
            }
            let routes = stage.publish(generate::routes(&mut rng));
            for _ in 0..A_SET / TOGETHER {
                let mut packets = Vec::with_capacity(TOGETHER);
                while packets.len() < TOGETHER {
                    packets.extend(generator.packets());
                }
                match compare::together(stage, &packets) {
                    Ok(now) => tally.add(&now),
                    Err(difference) => {
                        let case = Case { setting, routes, packets };
                        let (case, difference) = shrink::shrink(stage, case, difference);
                        panic!("seed {seed:#x}\n{case}\n{}", difference.text);
                    }
                }
            }
        }
    });
    tally
}

/// Runs this on a host of its own.
fn on_stage(setting: Setting, test: impl FnOnce(&mut Stage) + Send) {
    if can_run() {
        let netns = Netns::new("differential");
        netns.run(|| test(&mut Stage::new(&netns, setting)));
    }
}

/// Whether namespaces and programs are to be had. Otherwise the test is skipped, and says so; under CI it fails.
fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("CI").is_none(),
            "these tests need root with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF"
        );
        println!("skipped: needs root");
    }
    root
}

/// Keeps this thread, and those that it starts, on a CPU: what is handed over stands in a map by CPU.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("there is such a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("stay on a CPU");
}
