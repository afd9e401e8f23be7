//! What the kernel can, and what the caller may.

use crate::{
    datapath::{Datapath, Marking, has_tcx, kernel_has_btf},
    failure::{Exit, Failure},
    finding::Finding,
    settings::Settings,
    sys::{self, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN},
};

/// What the caller may.
pub struct Capabilities {
    missing: Vec<&'static str>,
    sys_admin: bool,
}

impl Capabilities {
    /// The calling thread's.
    pub fn own() -> Self {
        let sys_admin = sys::has_capability(CAP_SYS_ADMIN);
        let has = |capability| sys::has_capability(capability);
        let missing = [
            ("CAP_BPF", has(CAP_BPF) || sys_admin),
            ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
            ("CAP_PERFMON", has(CAP_PERFMON) || sys_admin),
        ];
        let missing = missing.into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect();
        Self { missing, sys_admin }
    }

    /// Whether there are all that the agent needs.
    pub fn suffice(&self) -> bool {
        self.missing.is_empty()
    }

    /// What there is to say of them.
    pub fn finding(&self) -> Finding {
        if !self.suffice() {
            return Finding::fail("capabilities", format!("missing: {}", self.missing.join(", ")))
                .fix("run it as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
                .exit(Exit::NotPermitted);
        }
        let more = if self.sys_admin {
            ""
        } else {
            "; without CAP_SYS_ADMIN, programs and maps cannot be told by name"
        };
        Finding::ok("capabilities", format!("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON{more}"))
    }

    /// What could not be looked at without them.
    pub fn not_tried(&self, id: &'static str) -> Finding {
        Finding::warn(id, format!("not tried: {} missing", self.missing.join(", ")))
            .fix("check again as root, or with what `capabilities` says")
    }
}

/// Tries the kernel.
pub fn look(settings: &Settings, capabilities: &Capabilities) -> Vec<Finding> {
    let mut findings = vec![btf()];
    if capabilities.suffice() {
        findings.push(programs(settings));
        findings.push(tcx());
    } else {
        findings.push(capabilities.not_tried("kernel-programs"));
        findings.push(capabilities.not_tried("kernel-tcx"));
    }
    findings
}

fn btf() -> Finding {
    match kernel_has_btf() {
        Ok(()) => Finding::ok("kernel-btf", "the kernel tells its types, the IP_TRANSPARENT flag among them"),
        Err(error) => Finding::fail("kernel-btf", format!("{error:#}"))
            .fix("use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of all large distributions are")
            .exit(Exit::Kernel),
    }
}

/// Loads the programs with the room that the settings ask for, and lets them go.
fn programs(settings: &Settings) -> Finding {
    let loaded = Datapath::load(&settings.limits, Marking::new(settings.routing.mark));
    match loaded.and_then(|datapath| datapath.verified_instructions()) {
        Ok(programs) => {
            let names: Vec<_> = programs.iter().map(|(name, _)| &**name).collect();
            let instructions: u32 = programs.iter().map(|(_, count)| count).sum();
            let names = names.join(", ");
            Finding::ok("kernel-programs", format!("loaded: {names} ({instructions} instructions verified)"))
        }
        Err(error) => {
            let finding = Finding::failed("kernel-programs", &Failure::from(error));
            if finding.fixes.is_empty() {
                finding.fix("use Linux 6.1 or newer; README.md says which feature needs which kernel")
            } else {
                finding
            }
        }
    }
}

fn tcx() -> Finding {
    match has_tcx() {
        Ok(true) => {
            Finding::ok("kernel-tcx", "there is TCX: ordered beside other programs, gone with the agent")
        }
        Ok(false) => Finding::warn("kernel-tcx", "there is no TCX: the agent attaches clsact filters")
            .fix("nothing need be done; with Linux 6.6 or newer the programs go when an agent is killed"),
        Err(error) => Finding::warn("kernel-tcx", format!("cannot be told: {error}")),
    }
}
