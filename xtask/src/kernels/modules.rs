//! Modules of a kernel, and those that they need.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::steps::Steps;

/// What the demonstration and the tests use. What a kernel has built in, or does not have, is left out.
const MODULES: &[&str] = &[
    // libcrc32c asks for it by the name of an algorithm, which no list of needs shows.
    "crc32c_generic",
    "8021q",
    "act_gact",
    "bonding",
    "br_netfilter",
    "bridge",
    "cls_bpf",
    "cls_u32",
    "inet_diag",
    "ip6_gre",
    "ip6_tunnel",
    "ip6table_filter",
    "ip6table_mangle",
    "ip6table_nat",
    "ip6table_raw",
    "ip_gre",
    "ip_vs_rr",
    "ipip",
    "iptable_filter",
    "iptable_mangle",
    "iptable_nat",
    "iptable_raw",
    "macvlan",
    "netkit",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib_inet",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "sch_ingress",
    "sit",
    "tcp_diag",
    "tun",
    "udp_diag",
    "veth",
    "vrf",
    "wireguard",
    "xt_MASQUERADE",
    "xt_REDIRECT",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_nat",
    "xt_tcpudp",
];

/// Puts the modules into a directory, with those that they need, under names whose order is that in which they are to be
/// loaded.
pub fn unpack(steps: &Steps, kernel: &Path, version: &str, to: &Path) -> Result<()> {
    let mut modules = Modules { files: HashMap::new(), to, done: Vec::new() };
    modules.find(&kernel.join(format!("lib/modules/{version}/kernel")))?;
    let missing: Vec<&str> =
        MODULES.iter().copied().filter(|name| !modules.files.contains_key(*name)).collect();
    if !missing.is_empty() {
        steps.note(&format!("no modules of this kernel, or built in: {}", missing.join(", ")));
    }
    for name in MODULES {
        modules.add(name)?;
    }
    Ok(())
}

struct Modules<'a> {
    /// By the names that the kernel gives them.
    files: HashMap<String, PathBuf>,
    to: &'a Path,
    done: Vec<String>,
}

impl Modules<'_> {
    fn find(&mut self, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                self.find(&path)?;
                continue;
            }
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some((name, _)) = file.split_once(".ko") {
                self.files.insert(name.replace('-', "_"), path);
            }
        }
        Ok(())
    }

    /// Adds a module behind those that it needs.
    fn add(&mut self, name: &str) -> Result<()> {
        if self.done.iter().any(|done| done == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else { return Ok(()) };
        self.done.push(name.to_owned());
        let module = read(file)?;
        for needed in needs(&module) {
            self.add(&needed)?;
        }
        let number = fs::read_dir(self.to).context("count the modules")?.count();
        fs::write(self.to.join(format!("{number:03}-{name}.ko")), module).context("write a module")
    }
}

/// A module's file, unpacked.
fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension == "ko") {
        return fs::read(file).with_context(|| format!("read {}", file.display()));
    }
    let unpacked = Command::new("xz").args(["--decompress", "--stdout"]).arg(file).output();
    let unpacked = unpacked.context("run xz")?;
    ensure!(unpacked.status.success(), "unpack {}", file.display());
    Ok(unpacked.stdout)
}

/// The modules that one says it needs, in the section `.modinfo`: texts that end in a zero.
fn needs(module: &[u8]) -> Vec<String> {
    let texts = module.split(|byte| *byte == 0);
    let list = texts.filter_map(|text| text.strip_prefix(b"depends=")).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list).replace('-', "_");
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
