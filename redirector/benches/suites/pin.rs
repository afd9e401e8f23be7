//! One CPU for everything that is measured.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Keeps the calling thread, and the threads that it will start, on one CPU: the last of those it may use.
pub fn to_one_cpu() -> usize {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("ask for the CPUs of this thread");
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu) == Ok(true));
    let last = last.expect("a thread may use a CPU");
    let mut one = CpuSet::new();
    one.set(last).expect("name a CPU");
    sched_setaffinity(this, &one).expect("pin this thread");
    last
}
