//! `cargo xtask kernels`: the demonstration on Debian's kernels, each in an emulated machine.
//!
//! No kernel is installed: its package is unpacked, and an initramfs has what the demonstration runs. The machine is
//! emulated in software, so that this works inside of another one too.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use xtask::{programs, tools};

use crate::{build, setup, steps::Steps};

/// What Debian calls its kernels, if no others are named: the release's own, and the newer one beside it.
const KERNELS: [&str; 2] = ["linux-image-amd64", "linux-image-6.12-amd64"];
/// Programs that this needs besides those of the demonstration, and the packages of Debian they are in.
const PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("dpkg-deb", "dpkg"),
    ("ldd", "libc-bin"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("timeout", "coreutils"),
    ("xz", "xz-utils"),
];
/// Modules of Debian's kernels that the demonstration uses. None needs another.
const MODULES: [&str; 3] = ["drivers/net/veth", "net/sched/sch_ingress", "net/sched/cls_bpf"];
/// How long a machine may run, in seconds. It needs about 25.
const DEADLINE_SECS: &str = "300";
/// The machine's first process.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin NO_COLOR=1
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox ln -s busybox /bin/true
for module in /modules/*; do busybox insmod $module; done
xtask run --agent /bin/redirector && echo demonstration: held
busybox poweroff -f
";

/// The task.
pub fn run(packages: &[String]) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "this task knows how to emulate x86-64 only, and this is not one");
    let mut steps = Steps::default();
    setup::commands(&mut steps, setup::DEMONSTRATION)?;
    setup::commands(&mut steps, PROGRAMS)?;
    let agent = build::agent(&mut steps)?;
    let default = KERNELS.map(str::to_owned);
    let mut results = Vec::new();
    for package in if packages.is_empty() { &default[..] } else { packages } {
        steps.begin(&format!("run the demonstration on the kernel of {package}"));
        let (version, kernel) = unpack(&steps, package)?;
        let initramfs = initramfs(&steps, &kernel, &version, &agent)?;
        results.push((boot(&steps, &kernel.join(format!("boot/vmlinuz-{version}")), &initramfs)?, version));
    }
    println!("{:<28} {:<8} RESULT", "KERNEL", "HOOK");
    for ((held, hook), version) in &results {
        println!("{version:<28} {hook:<8} {}", if *held { "ok" } else { "FAILED" });
    }
    ensure!(results.iter().all(|((held, _), _)| *held), "the demonstration failed on a kernel");
    Ok(())
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

/// Makes the machine's files: programs with their libraries, modules, and the first process.
fn initramfs(steps: &Steps, kernel: &Path, version: &str, agent: &Path) -> Result<PathBuf> {
    let root = kernel.join("root");
    let _ = fs::remove_dir_all(&root);
    for directory in ["bin", "dev", "modules", "proc", "run", "sys"] {
        fs::create_dir_all(root.join(directory)).context("make the machine's directories")?;
    }
    let own = env::current_exe().context("find this program's file")?;
    let names = setup::DEMONSTRATION.iter().map(|(name, _)| *name).chain(["busybox"]);
    let found = names.map(|name| programs(name).next().with_context(|| format!("find {name}")));
    let mut files = found.collect::<Result<Vec<_>>>()?;
    files.extend([own, agent.to_owned()]);
    let mut libraries = BTreeSet::new();
    for file in &files {
        copy(file, &root.join("bin").join(file.file_name().unwrap_or_default()))?;
        // A program without any makes ldd fail.
        let listed = Command::new("ldd").arg(file).output().context("run ldd")?.stdout;
        let words = String::from_utf8_lossy(&listed).into_owned();
        libraries.extend(words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for library in &libraries {
        copy(library, &root.join(library.strip_prefix("/")?))?;
    }
    for module in MODULES {
        let file = kernel.join(format!("lib/modules/{version}/kernel/{module}.ko"));
        let to = root.join("modules").join(file.file_name().unwrap_or_default());
        let packed = file.with_added_extension("xz");
        if packed.exists() {
            let plain = fs::File::create(&to).context("write a module")?;
            let done =
                Command::new("xz").args(["--decompress", "--stdout"]).arg(&packed).stdout(plain).status();
            ensure!(done.context("run xz")?.success(), "unpack {}", packed.display());
        } else {
            copy(&file, &to)?;
        }
    }
    let init = root.join("init");
    fs::write(&init, INIT).context("write the first process")?;
    fs::set_permissions(&init, Permissions::from_mode(0o755)).context("write the first process")?;
    let archive = kernel.join("initramfs");
    let mut pack = Command::new("sh");
    pack.args(["-c", "busybox find . | busybox cpio -o -H newc >\"$0\""]).arg(&archive).current_dir(&root);
    steps.run("make an initramfs", pack)?;
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))
        .and_then(|()| fs::copy(from, to))
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// Boots the machine and shows what it says: whether the demonstration held, and at which hook.
fn boot(steps: &Steps, kernel: &Path, initramfs: &Path) -> Result<(bool, String)> {
    steps.note("boot it in an emulated machine, which takes half a minute");
    let mut machine = Command::new("timeout");
    machine.args([
        DEADLINE_SECS,
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "1024",
        "-smp",
        "2",
    ]);
    machine.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-append"]);
    machine.args([OsStr::new("console=ttyS0 quiet panic=-1"), "-kernel".as_ref(), kernel.as_ref()]);
    let said = output(machine.arg("-initrd").arg(initramfs))?;
    for line in said.lines() {
        eprintln!("   > {}", line.trim_end());
    }
    let hook = said.lines().find_map(|line| line.split("captured at ").nth(1)?.split(' ').next());
    Ok((said.contains("demonstration: held"), hook.unwrap_or("-").to_owned()))
}

/// What a command that must succeed writes to stdout.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
