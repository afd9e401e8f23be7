//! What `tc_ingress` costs a packet, by BPF_PROG_TEST_RUN.
//!
//! The kernel's own part of a run is that of an empty program, and is taken off. The program changes no packet, so each
//! of the repetitions sees the same.

use std::os::fd::{AsFd as _, OwnedFd};

use redirector_common::{Reason, entries::EventSettings};

use crate::{
    figures::{Figures, Random, Table},
    packet::Packet,
    pin, raw,
    support::{
        Netns,
        world::{FAMILIES, Family},
    },
};
use stage::{Measured, Stage, TELLS, packets};

mod stage;

/// One thing that is measured.
struct Case {
    name: String,
    program: OwnedFd,
    packet: Vec<u8>,
    /// What the packet must be counted as, where it is ours that is run.
    reason: Option<Reason>,
    goal: &'static str,
    events: EventSettings,
    /// Nanoseconds, one figure a round.
    figures: Figures,
}

/// Measures and prints.
pub fn run(rounds: u32, quick: bool) {
    let repeat = if quick { 10_000 } else { 1_000_000 };
    let netns = Netns::new("programs");
    netns.run(|| {
        let cpu = pin::to_one_cpu();
        println!("programs: {rounds} rounds of {repeat} runs each, on CPU {cpu}");
        let mut stage = Stage::new(&netns);
        let mut cases = cases(&mut stage);
        for case in &cases {
            stage.tell(case.events);
            stage.check(case.reason, &case.program, &case.packet, &case.name);
        }
        let mut random = Random::by_time();
        for _ in 0..rounds {
            for index in random.order(cases.len()) {
                let case = &mut cases[index];
                stage.tell(case.events);
                let repeat = if case.events.per_second > 1 { repeat.min(TELLS) } else { repeat };
                let run = raw::test_run(case.program.as_fd(), &case.packet, repeat).expect("run a program");
                case.figures.0.push(f64::from(run.nanoseconds));
            }
        }
        print(&cases);
        stage.print_sizes();
    });
}

fn cases(stage: &mut Stage) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, program: OwnedFd, packet: Packet, reason, goal, events| {
        let packet = packet.frame;
        cases.push(Case { name, program, packet, reason, goal, events, figures: Figures::default() });
    };
    let silent = EventSettings::default();
    for name in ["empty, first", "empty, second"] {
        let program = raw::empty().expect("load an empty program");
        add(name.to_owned(), program, packets(Family::V4).swap_remove(0).packet, None, "", silent);
    }
    for family in FAMILIES {
        let program =
            raw::socket_look_up(stage::established(family)).expect("load a program with one look-up");
        let packet = stage::established(family).packet();
        add(format!("{family:?} one bare socket look-up"), program, packet, None, "", silent);
        for measured in packets(family) {
            let name = format!("{family:?} {}", measured.name);
            let Measured { packet, reason, goal, events, .. } = measured;
            add(name, stage.tc_ingress(), packet, Some(reason), goal, events);
        }
    }
    cases
}

fn print(cases: &[Case]) {
    let [first, second] = [&cases[0].figures, &cases[1].figures];
    let empty = first.with(second, f64::midpoint);
    let mut table = Table::new(&["case", "ns", "over empty, ns", "times empty", "goal"]);
    for case in cases {
        let over = case.figures.with(&empty, |figure, empty| figure - empty);
        let times = case.figures.with(&empty, |figure, empty| figure / empty);
        table.row([
            case.name.clone(),
            case.figures.range(0),
            over.range(0),
            format!("{:.1}", times.median()),
            case.goal.to_owned(),
        ]);
    }
    println!("\n{table}");
    println!("A/A: the two empty programs differ by {} ns", first.with(second, |a, b| a - b).range(1));
    for family in FAMILIES {
        let of = |name: &str| {
            let name = format!("{family:?} {name}");
            &cases.iter().find(|case| case.name == name).expect("the case is there").figures
        };
        let look_up = of("one bare socket look-up").with(&empty, |a, b| a - b);
        let local = of("established, local").with(&empty, |a, b| a - b);
        let foreign = of("established, foreign").with(&empty, |a, b| a - b);
        let allowed = local.with(&look_up, |local, look_up| local + look_up);
        println!(
            "{family:?} established, foreign: {} ns; local and one look-up more: {} ns",
            foreign.range(0),
            allowed.range(0)
        );
    }
}
