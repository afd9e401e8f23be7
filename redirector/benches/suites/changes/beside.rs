//! Traffic through the redirector while routes change, beside the same traffic while none does.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{SetUp, Stage, client::Api, milliseconds, shares};
use crate::{
    figures::{Figures, Random, Table},
    support::{
        turnover::exchange,
        world::{Family, PORT},
    },
};

/// What goes on beside the traffic.
const MODES: [&str; 3] = ["no changes", "no changes, again", "changes without pause"];
const CHANGES: usize = 2;

/// Measures and prints.
pub fn run(quick: bool) {
    let (rounds, routes, connections) = if quick { (3, 1000, 20) } else { (15, 100_000, 1000) };
    println!("\nchanges: {rounds} rounds of {connections} connections, beside {routes} routes of files");
    let stage = Stage::new(SetUp { routes, of_files: true });
    stage.api.add("web", PORT);
    let to = SocketAddr::new(Family::V4.service(), PORT);
    stage.world.client.set_sysctl("ipv4/tcp_tw_reuse", "1");
    let mut figures = MODES.map(|_| [Figures::default(), Figures::default()]);
    let mut failures = 0;
    let changes = AtomicUsize::new(0);
    let mut during = Duration::ZERO;
    let mut random = Random::by_time();
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        for mode in random.order(MODES.len()) {
            let stop = AtomicBool::new(mode != CHANGES);
            let begin = Instant::now();
            let mut latencies = thread::scope(|scope| {
                let changing = scope.spawn(|| change(&Api::new(&stage.directory.0), &stop, &changes));
                let latencies = stage.world.client.run(|| {
                    let each = (0..connections).map(|_| {
                        let begin = Instant::now();
                        failures += usize::from(exchange(to).is_err());
                        milliseconds(begin.elapsed())
                    });
                    each.collect::<Vec<_>>()
                });
                stop.store(true, Ordering::Relaxed);
                changing.join().expect("routes change");
                latencies
            });
            if mode == CHANGES {
                during += begin.elapsed();
            }
            let (p50, p99, _) = shares(&mut latencies);
            if round > 0 {
                figures[mode][0].0.push(p50);
                figures[mode][1].0.push(p99);
            }
        }
    }
    let mut table = Table::new(&["beside", "p50, ms", "p99, ms", "p50 / quiet", "p99 / quiet"]);
    let quiet = [0, 1].map(|share| figures[0][share].with(&figures[1][share], f64::midpoint));
    for (name, shares) in MODES.iter().zip(&figures) {
        let ratio =
            |share: usize| shares[share].with(&quiet[share], |one, quiet| one / quiet).with_interval(3);
        table.row([(*name).to_owned(), shares[0].range(3), shares[1].range(3), ratio(0), ratio(1)]);
    }
    print!("{table}");
    let changes = changes.load(Ordering::Relaxed) as f64;
    println!("failed: {failures}; changes a second meanwhile: {:.0}", changes / during.as_secs_f64());
    for (name, share) in [("p50", 0), ("p99", 1)] {
        let [first, second] = [0, 1].map(|mode: usize| &figures[mode][share]);
        println!(
            "A/A: {name} of no changes / no changes: {}",
            first.with(second, |a, b| a / b).with_interval(3)
        );
    }
    println!("goal: p99 beside changes at most 1.2 of that without");
    stage.end();
}

/// Changes routes until it is to stop.
fn change(api: &Api, stop: &AtomicBool, changes: &AtomicUsize) {
    // Ends with the route gone.
    for number in 0.. {
        if number % 2 == 0 && stop.load(Ordering::Relaxed) {
            break;
        }
        api.toggle(number);
        changes.fetch_add(1, Ordering::Relaxed);
    }
}
