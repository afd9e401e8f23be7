//! Builds the BPF object of `redirector-ebpf` into `OUT_DIR`, from where the agent embeds it.

use std::{env, fs, io::ErrorKind, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use xtask::toolchain::Toolchain;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        // Plain text, without a backtrace: it ends in the commands to type.
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let object = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?).join("redirector");
    // An object of an earlier build must not be embedded when this one makes none.
    match fs::remove_file(&object) {
        Err(err) if err.kind() != ErrorKind::NotFound => {
            return Err(err).context("remove the last BPF object");
        }
        _ => {}
    }
    // First of all: after an error cargo shows what was printed before it.
    let toolchain = Toolchain::find().context("build the BPF object")?;
    let Toolchain { rustc, linker } = &toolchain;
    println!("cargo::rerun-if-changed={}", rustc.sysroot.join("bin/rustc").display());
    println!("cargo::rerun-if-changed={}", linker.path.display());
    for path in [
        "../redirector-ebpf/Cargo.toml",
        "../redirector-ebpf/src",
        "../redirector-common/Cargo.toml",
        "../redirector-common/src",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    let (built, warnings) = toolchain.build().with_context(|| {
        let (version, sysroot, file) = (&rustc.release, rustc.sysroot.display(), linker.path.display());
        format!(
            "build the BPF object with rustc {version} in {sysroot} (LLVM {}) and {file} (LLVM {})",
            rustc.llvm, linker.llvm
        )
    })?;
    for line in warnings.lines() {
        println!("cargo::warning={line}");
    }
    fs::copy(&built, &object).with_context(|| format!("copy {}", built.display()))?;

    let size =
        fs::metadata(&object).with_context(|| format!("find the BPF object {}", object.display()))?.len();
    ensure!(size > 0, "the BPF object {} is empty", object.display());
    Ok(())
}
