//! Whether this host can do what an agent will ask of it, and what stands in the way. No agent is needed, and
//! nothing is attached, added or changed: features are probed by loading the programs and by asking for what is new
//! in a kernel, never by its version.

mod host;
mod interfaces;
mod kernel;
mod leftovers;
mod marks;
mod proxies;

use redirector_common::entries::ProxyEntry;

use crate::{
    agent,
    failure::{Exit, Failure},
    finding::{Finding, Level},
    settings::Settings,
};
use kernel::Capabilities;

/// The ids of all findings, in the order in which they are looked at. Each is an anchor in docs/troubleshooting.md.
pub const IDS: [&str; 19] = [
    "config",
    "capabilities",
    "kernel-btf",
    "kernel-programs",
    "kernel-tcx",
    "agent-running",
    "leftovers",
    "interface-unsupported",
    "tc-order",
    "nat-present",
    "ipvs",
    "input-drop",
    "mark-overlap",
    "rule-priority",
    "route-table",
    "proxy-listening",
    "proxy-transparent",
    "proxy-device-bound",
    "proxy-mptcp",
];

/// Looks at everything that the settings name.
pub fn look(settings: Result<Settings, Failure>) -> Vec<Finding> {
    let (config, settings) = match settings {
        Ok(settings) => (None, settings),
        Err(failure) => (Some(Finding::failed("config", &failure)), Settings::default()),
    };
    let (compiled, proxies) = routes(&settings);
    let mut findings = vec![config.unwrap_or(compiled)];
    let capabilities = Capabilities::own();
    findings.push(capabilities.finding());
    findings.extend(kernel::look(&settings, &capabilities));
    findings.extend(leftovers::look());
    findings.extend(interfaces::look(&settings));
    findings.extend(host::look(&settings));
    findings.extend(proxies::look(&proxies, &capabilities));
    findings
}

/// The exit code, if anything failed: the one that tells most. That the kernel cannot comes before that the user may
/// not, and that before routes that are wrong.
pub fn exit(findings: &[Finding]) -> Option<Exit> {
    let failed = || findings.iter().filter(|finding| finding.level == Level::Fail);
    let by_weight = [Exit::Kernel, Exit::NotPermitted, Exit::Invalid];
    let most = by_weight.into_iter().find(|exit| failed().any(|finding| finding.exit == *exit));
    most.or(failed().next().map(|_| Exit::No))
}

/// Whether the routes go together, and the proxies that they lead to.
fn routes(settings: &Settings) -> (Finding, Vec<ProxyEntry>) {
    let routes: usize = settings.routes.values().map(Vec::len).sum();
    match agent::first(&mut settings.clone()) {
        Ok(first) => {
            let valid = Finding::ok("config", format!("{}, valid", agent::report::count(routes, "route")));
            (valid, first.proxies())
        }
        Err(failure) => (Finding::failed("config", &failure), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshooting.md"));

    #[test]
    fn every_id_has_a_section_of_the_guide_and_every_section_an_id() {
        let sections: Vec<_> = GUIDE.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, IDS);
    }

    #[test]
    fn every_section_of_the_guide_says_what_why_how_and_what_to_do() {
        for section in GUIDE.split("\n## ").skip(1) {
            for part in
                ["**What it means.**", "**Why it matters.**", "**See for yourself.**", "**What to do.**"]
            {
                assert!(
                    section.contains(part),
                    "{part} is missing in {}",
                    section.lines().next().unwrap_or("")
                );
            }
        }
    }

    #[test]
    fn of_several_failures_the_exit_code_is_that_of_the_most_telling() {
        let fail = |exit| Finding::fail("config", "").exit(exit);
        assert_eq!(exit(&[Finding::ok("config", ""), Finding::warn("config", "")]), None);
        assert_eq!(exit(&[fail(Exit::NotFound)]), Some(Exit::No));
        assert_eq!(exit(&[fail(Exit::No), fail(Exit::Invalid)]), Some(Exit::Invalid));
        assert_eq!(exit(&[fail(Exit::Invalid), fail(Exit::NotPermitted)]), Some(Exit::NotPermitted));
        assert_eq!(exit(&[fail(Exit::NotPermitted), fail(Exit::Kernel)]), Some(Exit::Kernel));
    }
}
