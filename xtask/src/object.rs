//! Cargo for the programs in the kernel.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{root, toolchain::Toolchain};

impl Toolchain {
    /// A command of cargo, `build` or `clippy`, for the programs and the target that they run on. It is given by its
    /// file, since cargo would run the clippy, and that the compiler, of the user's default toolchain.
    ///
    /// All share one directory, so that `core` and the rest are built once, whatever the profile of the agent.
    pub fn command(&self, program: &Path, subcommand: &str) -> Result<Command> {
        let bin = self.rustc.sysroot.join("bin");
        let old = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([bin.clone()].into_iter().chain(env::split_paths(&old)))
            .context("put the compiler into PATH")?;
        let arch = told("CARGO_CFG_TARGET_ARCH", env::consts::ARCH);
        let arch = format!("--cfg=bpf_target_arch=\"{arch}\"");

        let mut command = Command::new(program);
        command.args([subcommand, "--package", "redirector-ebpf", "--bins", "--release"]);
        command.args(["-Z", "build-std=core", "--target", target(), "--target-dir"]).arg(directory());
        command.current_dir(root()).envs([("PATH", path), ("RUSTC_BOOTSTRAP", "1".into())]);
        command.env("CARGO", bin.join("cargo")).env("RUSTC", bin.join("rustc"));
        command.env("CARGO_ENCODED_RUSTFLAGS", [&arch, "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f"));
        for target in ["BPFEL", "BPFEB"] {
            command.env(format!("CARGO_TARGET_{target}_UNKNOWN_NONE_LINKER"), &self.linker.path);
        }
        // Those that a build script inherits are of another compiler.
        for variable in ["RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
            command.env_remove(variable);
        }
        Ok(command)
    }

    /// Builds the BPF object: where it is, and what the compiler warned of.
    pub fn build(&self) -> Result<(PathBuf, String)> {
        let mut command = self.command(&self.rustc.sysroot.join("bin/cargo"), "build")?;
        let output = command.arg("--quiet").stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("run {command:?}"))?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{command:?}: {}\n{complaint}", output.status);
        Ok((directory().join(target()).join("release/redirector"), complaint))
    }
}

/// The target that the programs run on: BPF, with the bytes of a word in the machine's order.
fn target() -> &'static str {
    let own = if cfg!(target_endian = "big") { "big" } else { "little" };
    match told("CARGO_CFG_TARGET_ENDIAN", own).as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    }
}

/// What a build script is told of the machine that it builds for, else what this one is.
fn told(variable: &str, own: &str) -> String {
    env::var(variable).unwrap_or_else(|_| own.to_owned())
}

/// Where the programs are built, apart from the rest: their compiler may be another.
fn directory() -> PathBuf {
    root().join("target").join("bpf")
}
