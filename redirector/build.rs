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
    // aya-build adds the directory of the programs themselves.
    for path in
        ["../redirector-common/Cargo.toml", "../redirector-common/src", "../Cargo.toml", "../Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={path}");
    }
    let mut variables = toolchain.env()?;
    // aya-build hands on each line of cargo's progress as a warning, and cargo repeats those at every later build.
    variables.push(("CARGO_TERM_QUIET", "true".into()));
    for (name, value) in variables {
        // SAFETY: this process has one thread, so nobody reads the environment while it changes.
        unsafe { env::set_var(name, value) };
    }

    let sysroot = rustc.sysroot.to_str().context("the toolchain's path is not UTF-8")?;
    let package =
        aya_build::Package { name: "redirector-ebpf", root_dir: "../redirector-ebpf", ..Default::default() };
    // rustup takes a toolchain's directory for its name; where there is no rustup, PATH leads to the same compiler.
    aya_build::build_ebpf([package], aya_build::Toolchain::Custom(sysroot)).with_context(|| {
        let (version, file) = (&rustc.release, linker.path.display());
        format!(
            "build the BPF object with rustc {version} in {sysroot} (LLVM {}) and {file} (LLVM {})",
            rustc.llvm, linker.llvm
        )
    })?;

    let size =
        fs::metadata(&object).with_context(|| format!("find the BPF object {}", object.display()))?.len();
    ensure!(size > 0, "the BPF object {} is empty", object.display());
    Ok(())
}
