//! What the tasks and redirector's build script share: which tools build the BPF object, and where things are.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

mod object;
pub mod toolchain;

/// The workspace's root directory.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Where `cargo xtask setup` puts the tools it builds or fetches: under `target`, as everything of ours.
#[must_use]
pub fn tools() -> PathBuf {
    root().join("target").join("tools")
}

/// Every file called `name` in `PATH` and where root's programs are, which a user's `PATH` may leave out.
pub fn programs(name: impl AsRef<OsStr>) -> impl Iterator<Item = PathBuf> {
    let name = name.as_ref().to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"].map(PathBuf::from));
    directories.into_iter().map(move |directory| directory.join(&name)).filter(|file| file.is_file())
}
