//! The agent as a process, from /proc.

use std::fs;

use crate::sys;

/// What the kernel tells of this process; zero where it does not.
#[derive(Debug, Default)]
pub struct Process {
    /// CPU time, in seconds.
    pub cpu: f64,
    /// Memory in RAM, in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub fds: usize,
}

impl Process {
    /// Reads them.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name before it may have spaces and brackets. Of what follows, utime and stime are the 12th and 13th
        // (proc_pid_stat(5)).
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        let ticks: u64 = fields.into_iter().flatten().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Self {
            cpu: ticks as f64 / TICKS,
            resident: pages * sys::page_size(),
            fds: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

/// USER_HZ, the unit of times in /proc, in every architecture that eBPF programs run on.
const TICKS: f64 = 100.0;
