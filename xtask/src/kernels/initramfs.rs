//! The machine's files: programs with their libraries, tests, modules, and the first process.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use xtask::programs;

use super::{copy, machine::END, modules, output};
use crate::{setup, steps::Steps};

/// Programs of the machine besides those that [`setup::TESTS`] names.
const ALSO: [&str; 6] = ["busybox", "iptables-legacy", "iptables-nft", "ipvsadm", "ss", "wg"];
/// What iptables reads while it runs.
const EXTENSIONS: &str = "/usr/lib/x86_64-linux-gnu/xtables";
/// The tests of behaviour that are run, if not all are: those of what differs from kernel to kernel.
const BEHAVIOUR: &str = "availability:: cleanup:: devices:: ipvs:: lifecycle:: links:: next_hops:: repairs:: resets:: \
    status:: steering:: vlan::";
/// All that need neither Envoy nor what it is run with.
const ALL: &str = "--skip envoy::";

/// Packs the machine's files for a kernel, and returns the archive.
pub fn make(
    steps: &Steps,
    kernel: &Path,
    version: &str,
    agent: &Path,
    tests: &Path,
    all: bool,
) -> Result<PathBuf> {
    let root = kernel.join("root");
    let _ = fs::remove_dir_all(&root);
    for directory in ["bin", "dev/pts", "modules", "proc", "run", "sys", "tests", "tmp"] {
        fs::create_dir_all(root.join(directory)).context("make the machine's directories")?;
    }
    let own = env::current_exe().context("find this program's file")?;
    let names = setup::TESTS.iter().map(|(name, _)| *name).chain(ALSO);
    let found = names.map(|name| {
        let file = programs(name).next().with_context(|| format!("find {name}"))?;
        Ok((file, root.join("bin").join(name)))
    });
    let mut files = found.collect::<Result<Vec<_>>>()?;
    // The tests know the agent by its path here.
    files.extend([(own, root.join("bin/xtask")), (agent.to_owned(), root.join(agent.strip_prefix("/")?))]);
    for test in fs::read_dir(tests).context("list the tests")? {
        let test = test?;
        files.push((test.path(), root.join("tests").join(test.file_name())));
    }
    let mut libraries = BTreeSet::new();
    for (from, to) in &files {
        copy(from, to)?;
        // A program without any makes ldd fail.
        let listed = Command::new("ldd").arg(from).output().context("run ldd")?.stdout;
        let words = String::from_utf8_lossy(&listed).into_owned();
        libraries.extend(words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for library in &libraries {
        copy(library, &root.join(library.strip_prefix("/")?))?;
    }
    for extension in fs::read_dir(EXTENSIONS).with_context(|| format!("list {EXTENSIONS}"))? {
        let extension = extension?.path();
        copy(&extension, &root.join(extension.strip_prefix("/")?))?;
    }
    strip(&files)?;
    modules::unpack(steps, kernel, version, &root.join("modules"))?;
    let init = root.join("init");
    fs::write(&init, first_process(agent, all)).context("write the first process")?;
    fs::set_permissions(&init, Permissions::from_mode(0o755)).context("write the first process")?;
    let archive = kernel.join("initramfs");
    let mut pack = Command::new("sh");
    pack.args(["-c", "busybox find . | busybox cpio -o -H newc >\"$0\""]).arg(&archive).current_dir(&root);
    steps.run("make an initramfs", pack)?;
    Ok(archive)
}

/// Takes out what only debuggers read, which is most of what we build.
fn strip(files: &[(PathBuf, PathBuf)]) -> Result<()> {
    let built = files.iter().filter(|(from, _)| !from.starts_with("/usr") && !from.starts_with("/bin"));
    output(Command::new("strip").arg("--strip-debug").args(built.map(|(_, to)| to))).map(drop)
}

/// What the machine runs.
fn first_process(agent: &Path, all: bool) -> String {
    let behaviour = if all { ALL } else { BEHAVIOUR };
    let agent = agent.display();
    format!(
        "#!/bin/busybox sh
export PATH=/bin NO_COLOR=1 CI=1
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mkdir -p /dev/pts
busybox mount -t devpts devpts /dev/pts
for name in sh true; do busybox ln -s busybox /bin/$name; done
# Else each namespace has devices of each kind of tunnel, which nobody brings up.
echo 1 >/proc/sys/net/core/fb_tunnels_only_for_init_net
for module in /modules/*; do busybox insmod $module; done
xtask run --agent {agent} && echo demonstration: held
xtask sandbox /tests/verdicts-* --show-output
xtask sandbox /tests/behaviour-* --show-output {behaviour}
echo {END}
busybox poweroff -f
"
    )
}
