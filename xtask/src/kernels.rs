//! `cargo xtask kernels`: the demonstration, and tests, on Debian's kernels, each in an emulated machine.
//!
//! No kernel is installed: its package is unpacked, and an initramfs has what is run. The machine is emulated in
//! software, so that this works inside of another one too.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use xtask::tools;

use crate::{
    build::cargo,
    setup,
    steps::Steps,
    test::{self, Counts},
};

mod initramfs;
mod machine;
mod modules;

/// What Debian calls its kernels, if no others are named: the release's own, and the newer one beside it.
const KERNELS: [&str; 2] = ["linux-image-amd64", "linux-image-6.12-amd64"];
/// Programs that this needs besides those of the tests, and the packages of Debian they are in.
const PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("dpkg-deb", "dpkg"),
    ("ipvsadm", "ipvsadm"),
    ("ldd", "libc-bin"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
    ("timeout", "coreutils"),
    ("wg", "wireguard-tools"),
    ("xz", "xz-utils"),
];

/// What became of everything on one kernel.
struct Outcome {
    version: String,
    /// What the agent chose.
    hook: String,
    /// Whether the demonstration held.
    held: bool,
    /// Whether the machine came to its end by itself.
    ended: bool,
    tests: Counts,
}

/// The task.
pub fn run(all: bool, packages: &[String]) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "this task knows how to emulate x86-64 only, and this is not one");
    let mut steps = Steps::default();
    setup::commands(&mut steps, setup::TESTS)?;
    setup::commands(&mut steps, PROGRAMS)?;
    setup::toolchain(&mut steps)?;
    let (agent, tests) = build(&mut steps)?;
    let default = KERNELS.map(str::to_owned);
    let mut outcomes = Vec::new();
    for package in if packages.is_empty() { &default[..] } else { packages } {
        steps.begin(&format!("run the demonstration and the tests on the kernel of {package}"));
        let (version, kernel) = unpack(&steps, package)?;
        let initramfs = initramfs::make(&steps, &kernel, &version, &agent, &tests, all)?;
        outcomes.push(machine::boot(&steps, version, &kernel, &initramfs)?);
    }
    println!("{:<28} {:<8} {:<14} PASSED FAILED SKIPPED", "KERNEL", "HOOK", "DEMONSTRATION");
    for Outcome { version, hook, held, ended, tests: Counts { passed, failed, skipped } } in &outcomes {
        let held = if *held { "held" } else { "FAILED" };
        let end = if *ended { "" } else { "  and it did not end by itself" };
        println!("{version:<28} {hook:<8} {held:<14} {passed:<6} {failed:<6} {skipped}{end}");
    }
    let good = |outcome: &Outcome| outcome.held && outcome.ended && outcome.tests.failed == 0;
    ensure!(outcomes.iter().all(good), "something failed on a kernel");
    Ok(())
}

/// Builds the agent and the tests: the agent's file, where tests look for it, and a directory with the tests.
fn build(steps: &mut Steps) -> Result<(PathBuf, PathBuf)> {
    steps.begin("build the tests, and the agent with the programs in it");
    let directory = tools().join("kernels/tests");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    // Instead of running them cargo has them copied.
    let copy = format!("--target-directory={}", directory.display());
    let copy = format!("target.{}.runner=[\"cp\", {copy:?}]", test::host()?);
    let mut build = cargo();
    build.args(["test", "--package", "redirector", "--test", "verdicts", "--test", "behaviour"]);
    build.args(["--config", &copy]).env("REDIRECTOR_EMULATED", "1");
    steps.run("cargo test, with cp for a runner", build)?;
    let agent = env::current_exe().context("find this program's file")?.with_file_name("redirector");
    ensure!(agent.is_file(), "cargo built no {}", agent.display());
    Ok((agent, directory))
}

/// The version of the kernel in a package, or in the one that it stands for, and where it is unpacked.
fn unpack(steps: &Steps, package: &str) -> Result<(String, PathBuf)> {
    let depends = output(Command::new("apt-cache").args(["depends", package]))?;
    let stands_for = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version = stands_for.or(package.strip_prefix("linux-image-")).context("name a linux-image")?;
    let directory = tools().join("kernels").join(version);
    if !directory.exists() {
        let aside = directory.with_added_extension("partial");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside).with_context(|| format!("make {}", aside.display()))?;
        let mut download = Command::new("apt-get");
        download.args(["--quiet", "download"]).arg(format!("linux-image-{version}")).current_dir(&aside);
        steps.run(&format!("download linux-image-{version}"), download)?;
        let file = fs::read_dir(&aside)?.next().context("find the package that apt-get downloaded")??.path();
        let mut extract = Command::new("dpkg-deb");
        extract.arg("--extract").arg(&file).arg(&aside);
        steps.run("unpack it", extract)?;
        fs::remove_file(&file).context("remove the package")?;
        fs::rename(&aside, &directory).with_context(|| format!("put it into {}", directory.display()))?;
    }
    Ok((version.to_owned(), directory))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))
        .and_then(|()| fs::copy(from, to))
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// What a command that must succeed writes to stdout.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
