//! What the kernel has that other kernels do not.

use std::{fs, process::Command};

use super::Netns;

/// Whether programs can be attached by TCX: since Linux 6.6 (commit e420bed02507).
///
/// By the version, not by trying: where it is to be had and does not work, tests must fail.
pub fn has_tcx() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the kernel's version");
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

/// The same for a test of nothing else: where there is no TCX it is skipped, and says so.
pub fn needs_tcx() -> bool {
    if !has_tcx() {
        println!("skipped: needs TCX (Linux 6.6)");
    }
    has_tcx()
}

/// Whether the kernel has devices of this kind. Where it has none the test is skipped, and says so: `cargo xtask kernels`
/// runs it on kernels that have them.
pub fn has_device(kind: &str) -> bool {
    let netns = Netns::new("kinds of devices");
    let (_, _, complaint) = netns.try_output(&format!("ip link add probe type {kind}"));
    // Of one that it knows the kernel may miss what its kind needs.
    let unknown = complaint.contains("Unknown device type");
    if unknown {
        println!("skipped: needs a kernel with {kind} devices");
    }
    !unknown
}

/// Whether the kernel has IPVS, and this host the program that sets it up. Else the test is skipped, and says so.
pub fn has_ipvs() -> bool {
    let netns = Netns::new("IPVS");
    let has = Command::new("ipvsadm").arg("--version").output().is_ok() && netns.try_output("ipvsadm -Ln").0;
    if !has {
        println!("skipped: needs a kernel with IPVS, and ipvsadm");
    }
    has
}
