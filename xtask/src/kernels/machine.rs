//! The emulated machine.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use super::Outcome;
use crate::{steps::Steps, test::Log};

/// How long a machine may run, in seconds.
const DEADLINE_SECS: &str = "1800";
/// What the kernel is told. Tests of ciphers, and of a timer against the clock, go wrong where emulation is slow.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check";
/// What the machine's first process says when all is done.
pub const END: &str = "machine: done";

/// Boots the machine and shows what it says.
pub fn boot(steps: &Steps, version: String, kernel: &Path, initramfs: &Path) -> Result<Outcome> {
    steps.note("boot it in an emulated machine, which takes some minutes");
    let mut machine = Command::new("timeout");
    machine.args([DEADLINE_SECS, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"]);
    machine.args(["-m", "3072", "-smp", "2", "-nodefaults", "-no-reboot", "-display", "none"]);
    machine.args(["-serial", "stdio", "-append", COMMAND_LINE]);
    let image = kernel.join(format!("boot/vmlinuz-{version}"));
    machine.args([OsStr::new("-kernel"), image.as_ref(), "-initrd".as_ref(), initramfs.as_ref()]);
    let start = Instant::now();
    let mut child =
        machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run an emulated machine")?;
    let serial = child.stdout.take().context("read from the machine")?;
    let mut log = Log::default();
    let (mut hook, mut held, mut ended) = (None, false, false);
    for line in BufReader::new(serial).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("read from the machine")?).trim_end().to_owned();
        eprintln!("   > {line}");
        log.read(&line);
        held |= line.contains("demonstration: held");
        ended |= line == END;
        let at = line.split("captured at ").nth(1).and_then(|rest| rest.split(' ').next());
        hook = hook.or_else(|| at.map(str::to_owned));
    }
    child.wait().context("wait for the machine")?;
    steps.note(&format!("the machine: done in {} s", start.elapsed().as_secs()));
    Ok(Outcome { version, hook: hook.unwrap_or_else(|| "-".to_owned()), held, ended, tests: log.counts() })
}
