//! How long an interface that comes is not captured yet: from its being up until the agent says that the program is there.
//!
//! The agent is the real one, and the interfaces are ends of veth pairs that are up from the beginning, so that all of the
//! agent's work lies in the gap. Once alone, and once while others come and go as fast as the kernel lets them. And how long an
//! agent begins and ends where there are very many.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use nix::{net::if_::if_nametoindex, sys::signal::Signal};

use crate::{
    figures::Table,
    support::{Agent, DEADLINE, Hook, World},
};

/// How many interfaces come and go beside the ones that are measured, at most at a time.
const OTHERS: usize = 1000;

/// What was measured of one interface, milliseconds.
struct Gap {
    /// From before the request that makes it, up, until the program is there.
    from_request: f64,
    /// From when it is there, which is a little before it is up.
    from_there: f64,
}

/// Measures and prints.
pub fn run(quick: bool) {
    let events = if quick { 5 } else { 300 };
    println!("interfaces: {events} that come, one after the other");
    let mut table = Table::new(&["", "p50, ms", "p99, ms", "highest, ms"]);
    for others in [0, if quick { 20 } else { OTHERS }] {
        let world = World::new(Hook::Auto);
        let agent = world.agent_at("to-c*", &["all:8080=proxy:15001"]);
        let stop = AtomicBool::new(false);
        let mut gaps = thread::scope(|scope| {
            let churn = (others > 0).then(|| scope.spawn(|| churn(&world, others, &stop)));
            let gaps = world.node.run(|| (0..events).map(|event| measure(&agent, event)).collect::<Vec<_>>());
            stop.store(true, Ordering::Relaxed);
            if let Some(churn) = churn {
                let count = churn.join().expect("others come and go");
                println!("meanwhile {count} others came and went");
            }
            gaps
        });
        drop(agent);
        let beside = if others == 0 { "alone" } else { "others come and go" };
        for (what, of) in [
            ("from the request", (|gap| gap.from_request) as fn(&Gap) -> f64),
            ("from when it is there", |gap| gap.from_there),
        ] {
            gaps.sort_by(|one, other| of(one).total_cmp(&of(other)));
            let at =
                |share: f64| format!("{:.2}", of(&gaps[((gaps.len() - 1) as f64 * share).round() as usize]));
            table.row([format!("{beside}, {what}"), at(0.5), at(0.99), at(1.0)]);
        }
    }
    print!("{table}");
    println!("goal: at most 50 ms at p99 from when it is there");
    begin_and_end(if quick { 20 } else { OTHERS });
}

/// Makes a pair of which one end is captured, waits for the program, and takes the pair away again.
fn measure(agent: &Agent, event: usize) -> Gap {
    let name = format!("to-c-m{event}");
    let mut ip = start_ip();
    let input = ip.stdin.as_mut().expect("stdin is a pipe");
    let begin = Instant::now();
    writeln!(input, "link add {name} up type veth peer name m{event}").expect("write to ip");
    wait_for(|| if_nametoindex(name.as_str()).ok());
    let there = begin.elapsed();
    // To ask the kernel for programs takes the lock for which the agent waits too. At TCX the program was there a grace period before
    // this is said.
    agent.wait_for(&format!("interface {name}: captured"));
    let attached = begin.elapsed();
    let input = ip.stdin.as_mut().expect("stdin is a pipe");
    writeln!(input, "link delete {name}").expect("write to ip");
    drop(ip.stdin.take());
    assert!(ip.wait().expect("wait for ip").success(), "ip makes and deletes a pair");
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Gap { from_request: milliseconds(attached), from_there: milliseconds(attached - there) }
}

/// The program at TCX.
fn program(interface: &str) -> Option<ProgramInfo> {
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress).ok()?;
    programs.into_iter().next()
}

/// Measures an agent's beginning and end with so many interfaces, and prints.
fn begin_and_end(interfaces: usize) {
    let world = World::new(Hook::Auto);
    let lines = (0..interfaces / 2).map(|n| format!("link add to-c{n} up type veth peer name to-c{n}b\n"));
    world.node.ip(&lines.collect::<String>());
    let begin = Instant::now();
    let mut agent = world.agent_at("to-c*", &["all:8080=proxy:15001"]);
    let ready = begin.elapsed();
    let is_at_tcx = |line: &&String| line.ends_with("tcx ingress");
    while agent.said().iter().filter(is_at_tcx).count() < interfaces {
        thread::sleep(Duration::from_millis(10));
    }
    let at_tcx = begin.elapsed();
    let last = format!("to-c{}b", interfaces / 2 - 1);
    let begin = Instant::now();
    agent.signal(Signal::SIGTERM);
    world.node.run(|| wait_for(|| program(&last).filter(|program| program.name() == b"tc_ingress_idle")));
    let given_up = begin.elapsed();
    assert!(agent.wait_within(10 * DEADLINE).success(), "the agent ends well");
    println!("\nwith {interfaces} interfaces, s");
    let mut table = Table::new(&["ready", "all at TCX", "given up", "ended"]);
    table.row([ready, at_tcx, given_up, begin.elapsed()].map(|time| format!("{:.2}", time.as_secs_f64())));
    print!("{table}");
}

/// Runs `ip` in the calling thread's namespace, to be told line by line what to do.
fn start_ip() -> Child {
    Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("run ip")
}

/// Asks until there is an answer. Not without pause: to ask for programs takes the lock that the agent needs to attach one.
fn wait_for<T>(ask: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "the interface comes and is captured");
        thread::sleep(PAUSE);
    }
}

/// So far a figure may be above the truth.
const PAUSE: Duration = Duration::from_micros(100);

/// Has pairs come and go until it is told to stop; how many did.
fn churn(world: &World, at_a_time: usize, stop: &AtomicBool) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let lines = |what: fn(usize) -> String| (0..at_a_time).map(what).collect::<Vec<_>>().join("\n");
        world.node.ip(&lines(|n| format!("link add to-c{n} up type veth peer name other{n}")));
        world.node.ip(&lines(|n| format!("link delete to-c{n}")));
        count += at_a_time;
    }
    count
}
