//! Which compiler and which linker build the BPF object.
//!
//! BPF targets come without a compiled `core`, so the compiler must have its source: a nightly with the component
//! `rust-src`, or any other toolchain with that source, made to accept `-Z build-std` by `RUSTC_BOOTSTRAP=1`.
//! bpf-linker reads the compiler's LLVM bitcode, so its LLVM must not be older than the compiler's.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{programs, root, tools};

/// The version of bpf-linker that is installed where there is none; a suitable one of another version is taken as it is.
pub const LINKER_VERSION: &str = "0.13.0";
/// The packages of Debian with a compiler and the source of its `core`.
pub const COMPILER_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler and a linker that fit together.
#[derive(Debug)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: Rustc,
    /// The linker.
    pub linker: Linker,
}

impl Toolchain {
    /// The best pair on this machine; otherwise an error whose text ends in the commands that make one.
    pub fn find() -> Result<Self> {
        let linkers = Linker::all();
        let mut rustcs = Rustc::all();
        let fit = rustcs.iter().enumerate().find_map(|(index, rustc)| {
            let linker = linkers.iter().find(|linker| linker.llvm >= rustc.llvm)?;
            Some((index, linker.clone()))
        });
        if let Some((index, linker)) = fit {
            return Ok(Self { rustc: rustcs.swap_remove(index), linker });
        }
        let rustc = rustcs.first().ok_or_else(no_rustc)?;
        Err(no_linker(rustc, &linkers))
    }
}

/// A compiler that has the source of `core`.
#[derive(Debug)]
pub struct Rustc {
    /// Its directory: `bin/rustc` and `bin/cargo` are in it.
    pub sysroot: PathBuf,
    /// Its release, such as `1.96.0`.
    pub release: String,
    /// The major version of its LLVM.
    pub llvm: u32,
}

impl Rustc {
    /// The compilers here that have the source of `core` and are new enough; nightly ones first.
    pub fn all() -> Vec<Self> {
        let rustup =
            home("RUSTUP_HOME", ".rustup").and_then(|home| fs::read_dir(home.join("toolchains")).ok());
        let mut sysroots: Vec<PathBuf> =
            rustup.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        sysroots.sort();
        sysroots.extend(programs("rustc").filter_map(|rustc| {
            let sysroot = output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
            Some(PathBuf::from(sysroot.trim()))
        }));
        let mut found: Vec<Self> = Vec::new();
        for sysroot in sysroots {
            if !found.iter().any(|rustc| rustc.sysroot == sysroot) {
                found.extend(Self::at(sysroot));
            }
        }
        // Stable: within each kind the order of search stays.
        found.sort_by_key(|rustc| !rustc.release.contains("nightly"));
        found
    }

    /// The compiler in this directory, if it can build for BPF.
    fn at(sysroot: PathBuf) -> Option<Self> {
        let has = |path: &str| sysroot.join(path).exists();
        // A toolchain's name promises nothing: only the source itself counts.
        if !has("lib/rustlib/src/rust/library/core/src/lib.rs") || !has("bin/cargo") {
            return None;
        }
        let text = output(Command::new(sysroot.join("bin/rustc")).arg("-vV")).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let release = field("release")?.to_owned();
        let new_enough = version(&release) >= version(env!("CARGO_PKG_RUST_VERSION"));
        let llvm = major(field("LLVM version")?)?;
        new_enough.then_some(Self { sysroot, release, llvm })
    }
}

/// A bpf-linker that runs here.
#[derive(Clone, Debug)]
pub struct Linker {
    /// Its file.
    pub path: PathBuf,
    /// The major version of its LLVM.
    pub llvm: u32,
}

impl Linker {
    /// Every bpf-linker here: ours first, then those in `PATH`, then where `cargo install` puts it.
    pub fn all() -> Vec<Self> {
        let ours = tools().join("bin/bpf-linker");
        let installed = home("CARGO_HOME", ".cargo").map(|home| home.join("bin/bpf-linker"));
        let files = [ours].into_iter().chain(programs("bpf-linker")).chain(installed);
        files.filter_map(Self::at).collect()
    }

    /// Asks the linker for its LLVM. `bpf-linker --version` says only its own version, but LLVM's command line, which
    /// it hands `--llvm-args` to, answers before any input is read.
    fn at(path: PathBuf) -> Option<Self> {
        let args = ["--llvm-args=--version", "--output", "/dev/null", "/dev/null"];
        let text = output(Command::new(&path).args(args)).ok()?;
        let llvm = major(text.split("LLVM version ").nth(1)?)?;
        Some(Self { path, llvm })
    }
}

/// The command that installs bpf-linker for the LLVM `major` in the directory `prefix`.
#[must_use]
pub fn install_linker(prefix: &Path, major: u32) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--no-default-features"]);
    cargo.arg("--features").arg(format!("llvm-{major}")).arg("--root").arg(tools());
    cargo.env("LLVM_PREFIX", prefix).current_dir(root());
    cargo
}

/// The error for a machine without a suitable compiler.
#[must_use]
pub fn no_rustc() -> anyhow::Error {
    anyhow!(
        "no Rust toolchain here is {minimum} or newer and has the source of core, which BPF code is built with\n  \
         hint: with rustup, type\n    \
         rustup toolchain install nightly --profile minimal --component rust-src,clippy\n  \
         or, on Debian,\n    \
         sudo apt-get update && sudo apt-get install --yes --no-install-recommends {packages}\n  \
         and then\n    \
         cargo xtask setup",
        minimum = env!("CARGO_PKG_RUST_VERSION"),
        packages = COMPILER_PACKAGES.join(" "),
    )
}

/// The error for a machine whose linkers do not suit the compiler.
#[must_use]
pub fn no_linker(rustc: &Rustc, linkers: &[Linker]) -> anyhow::Error {
    let llvm = rustc.llvm;
    let mut text = format!(
        "no bpf-linker with LLVM {llvm} or newer, which rustc {} in {} needs",
        rustc.release,
        rustc.sysroot.display()
    );
    for linker in linkers {
        let _ = write!(text, "\n  {} has LLVM {}", linker.path.display(), linker.llvm);
    }
    let _ = write!(
        text,
        "\n  hint: type, on Debian (elsewhere install LLVM {llvm} with its headers, and put its directory into LLVM_PREFIX),\n    \
         sudo apt-get update && sudo apt-get install --yes --no-install-recommends llvm-{llvm}-dev\n    \
         LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo install bpf-linker --version {LINKER_VERSION} --locked --no-default-features --features llvm-{llvm}"
    );
    anyhow!(text)
}

/// What a command writes to stdout, if it succeeds.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A tool's home directory: what the variable says, else `directory` in the user's own.
fn home(variable: &str, directory: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(directory)))
}

/// Major and minor number of a release such as `1.96.0-nightly`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The first number of a version such as `22.1.8`.
fn major(version: &str) -> Option<u32> {
    version.trim().split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert!(version("1.100.0-nightly") > version("1.95"));
        assert!(version("1.9.0") < version("1.95"));
    }

    #[test]
    fn llvm_major_is_the_first_number() {
        assert_eq!(major("22.1.8\n  Optimized build."), Some(22));
        assert_eq!(major("unknown"), None);
    }
}
