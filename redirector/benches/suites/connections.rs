//! Connections through the redirector, beside direct ones and those that iptables redirects.
//!
//! Client and server share one CPU, so that what a mode costs shows in the time that an operation takes, and none of it
//! is hidden in another CPU's idle time. The server is the same in each mode; namespaces are fresh for each, so that
//! only those with REDIRECT have connection tracking.

use crate::{
    figures::{Figures, Random, Table},
    pin,
};
use modes::{KINDS, Kind, Mode};
use workloads::{Measure, WORKLOADS, Workload};

mod modes;
mod workloads;

/// A mode and what was measured of it, for each workload.
struct Measured {
    mode: Mode,
    figures: Vec<WorkloadFigures>,
}

#[derive(Default)]
struct WorkloadFigures {
    /// Median of a round's operations, microseconds.
    p50: Figures,
    /// Operations in a second.
    rate: Figures,
    failures: u64,
}

/// Measures and prints.
pub fn run(rounds: u32, quick: bool) {
    let cpu = pin::to_one_cpu();
    println!("connections: {rounds} rounds of each mode, client and server on CPU {cpu}");
    let mut modes: Vec<Measured> = KINDS
        .iter()
        .filter_map(|kind| Mode::new(*kind))
        .map(|mode| Measured {
            mode,
            figures: WORKLOADS.iter().map(|_| WorkloadFigures::default()).collect(),
        })
        .collect();
    let mut random = Random::by_time();
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        for (index, workload) in WORKLOADS.iter().enumerate() {
            for position in random.order(modes.len()) {
                let measured = &mut modes[position];
                let measure = measured.mode.measure(workload, quick);
                if round > 0 {
                    measured.figures[index].add(&measure);
                }
            }
        }
    }
    for (index, workload) in WORKLOADS.iter().enumerate() {
        print(workload, &modes, index);
    }
}

impl WorkloadFigures {
    fn add(&mut self, measure: &Measure) {
        self.p50.0.push(measure.p50);
        self.rate.0.push(measure.rate);
        self.failures += measure.failures;
    }
}

fn print(workload: &Workload, modes: &[Measured], index: usize) {
    let of = |kind: Kind| {
        modes.iter().find(|measured| measured.mode.kind == kind).map(|measured| &measured.figures[index])
    };
    let (Some(direct), Some(again)) = (of(Kind::Direct), of(Kind::DirectAgain)) else { return };
    let control = direct.p50.with(&again.p50, f64::midpoint);
    let control_rate = direct.rate.with(&again.rate, f64::midpoint);
    println!("\n{}", workload.name);
    let mut table = Table::new(&[
        "mode",
        "p50, µs",
        "per second",
        "p50 / direct",
        "rate / direct",
        "failed",
        "conntrack",
    ]);
    for Measured { mode, figures } in modes {
        let figures = &figures[index];
        table.row([
            mode.kind.name().to_owned(),
            figures.p50.range(1),
            format!("{:.0}", figures.rate.median()),
            figures.p50.with(&control, |p50, direct| p50 / direct).with_interval(3),
            figures.rate.with(&control_rate, |rate, direct| rate / direct).with_interval(3),
            figures.failures.to_string(),
            mode.tracked(),
        ]);
    }
    print!("{table}");
    same("direct", direct, again);
    if let (Some(empty), Some(again), Some(unmatched)) =
        (of(Kind::Empty), of(Kind::EmptyAgain), of(Kind::Unmatched))
    {
        same("empty program", empty, again);
        let control = empty.p50.with(&again.p50, f64::midpoint);
        let ratio = unmatched.p50.with(&control, |unmatched, empty| unmatched / empty);
        println!(
            "{} / empty program: {} (goal: within the A/A of the empty program)",
            Kind::Unmatched.name(),
            ratio.with_interval(3)
        );
    }
    for redirect in [Kind::LegacyRedirect, Kind::NftRedirect] {
        let Some(redirected) = of(redirect) else { continue };
        for ours in [Kind::Foreign, Kind::Local] {
            let Some(figures) = of(ours) else { continue };
            let over = figures.p50.with(&control, |p50, direct| p50 - direct);
            let over_redirect = redirected.p50.with(&control, |p50, direct| p50 - direct);
            println!(
                "overhead of {} / overhead of {}: {} (goal: at most {})",
                ours.name(),
                redirect.name(),
                over.with(&over_redirect, |ours, redirect| ours / redirect).with_interval(2),
                workload.goal
            );
        }
    }
}

/// Prints how far two of the same are apart.
fn same(name: &str, first: &WorkloadFigures, second: &WorkloadFigures) {
    let ratio = first.p50.with(&second.p50, |first, second| first / second);
    let (low, high) = ratio.interval();
    let verdict =
        if low <= 1.0 && 1.0 <= high { "1 lies between" } else { "1 DOES NOT LIE BETWEEN: discard this run" };
    println!("A/A: {name} / {name}: {} ({verdict})", ratio.with_interval(3));
}
