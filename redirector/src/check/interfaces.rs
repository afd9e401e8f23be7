//! The interfaces that are to be captured, and whose programs are there already.

use glob::Pattern;

use crate::{
    datapath::{AttachMode, Chain, Found, Hook, has_tcx},
    failure::Exit,
    finding::Finding,
    host::{self, Direction, Interface},
    settings::{InterfaceGlobs, Settings},
};

/// Looks at the interfaces that the settings name, or at all that can be captured.
pub fn look(settings: &Settings) -> Vec<Finding> {
    let interfaces = match host::interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return vec![Finding::failed("interface-unsupported", &error.into())],
    };
    let (mut findings, wanted) = choose(&settings.interfaces, &interfaces);
    findings.extend(order(settings.attach, &wanted));
    findings
}

/// Those that are wanted and can be had; and what is to be said of the others.
fn choose<'a>(globs: &InterfaceGlobs, interfaces: &'a [Interface]) -> (Vec<Finding>, Vec<&'a Interface>) {
    let parse = |globs: &[String]| -> Vec<Pattern> {
        globs.iter().filter_map(|glob| Pattern::new(glob).ok()).collect()
    };
    let (include, exclude) = (parse(&globs.include), parse(&globs.exclude));
    let names = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    let wanted: Vec<_> = interfaces
        .iter()
        .filter(|interface| interface.unsupported.is_none() && !names(&exclude, &interface.name))
        .filter(|interface| include.is_empty() || names(&include, &interface.name))
        .collect();
    let list: Vec<_> = interfaces
        .iter()
        .filter(|interface| interface.unsupported.is_none())
        .map(|interface| &*interface.name)
        .collect();
    let here =
        format!("interfaces here: {}", if list.is_empty() { "none".to_owned() } else { list.join(", ") });

    let mut findings = Vec::new();
    for pattern in &include {
        let is_glob = pattern.as_str().contains(['*', '?', '[']);
        match interfaces.iter().find(|interface| pattern.matches(&interface.name)) {
            None if is_glob => findings.push(
                Finding::warn("interface-unsupported", format!("{pattern}: no interface matches yet"))
                    .fix(&here),
            ),
            None => findings.push(
                Finding::fail("interface-unsupported", format!("{pattern}: no such interface"))
                    .fix(&here)
                    .exit(Exit::NotFound),
            ),
            Some(Interface { name, unsupported: Some(why), .. }) if !is_glob => findings.push(
                Finding::fail("interface-unsupported", format!("{name}: {why}"))
                    .fix(&here)
                    .exit(Exit::Invalid),
            ),
            Some(_) => {}
        }
    }
    if findings.is_empty() {
        let names: Vec<_> = wanted.iter().map(|interface| &*interface.name).collect();
        let names = if names.is_empty() { "none is here".to_owned() } else { names.join(", ") };
        findings.push(Finding::ok("interface-unsupported", format!("can be captured: {names}")));
    }
    (findings, wanted)
}

/// Whose programs stand where ours will.
fn order(mode: AttachMode, wanted: &[&Interface]) -> Vec<Finding> {
    let found = match Found::look() {
        Ok(found) => found,
        Err(failure) => {
            let finding = Finding::warn("tc-order", format!("cannot be told: {:#}", failure.error));
            return vec![failure.hint.into_iter().fold(finding, Finding::fix)];
        }
    };
    let by_tcx = mode != AttachMode::Clsact && has_tcx().unwrap_or(false);
    let is_wanted = |chain: &&Chain| wanted.iter().any(|interface| interface.index == chain.interface.index);
    let ingress = |chain: &&Chain| chain.direction == Direction::Ingress;
    let chains: Vec<_> = found.chains.iter().filter(is_wanted).filter(ingress).collect();

    let mut findings = Vec::new();
    let mut behind = Vec::new();
    for chain in &chains {
        let others = chain.others(false);
        if chain.position().is_some() {
            let before = found.before(chain);
            if !before.is_empty() {
                findings.push(
                    Finding::warn(
                        "tc-order",
                        format!("{}: before ours: {}", chain.place(), before.join(", ")),
                    )
                    .fix("restart the agent, which attaches first, after those of others"),
                );
            }
        } else if others.is_empty() {
        } else if chain.hook == Hook::Tcx && !by_tcx {
            findings.push(
                Finding::warn(
                    "tc-order",
                    format!(
                        "{}: {} will see packets before our clsact filter",
                        chain.place(),
                        others.join(", ")
                    ),
                )
                .fix("attach by TCX (`--attach auto`)"),
            );
        } else if chain.hook == Hook::Clsact && !by_tcx && first_priority(chain) == Some(1) {
            findings.push(
                Finding::warn(
                    "tc-order",
                    format!("{}: {} has priority 1, and nothing can be before it", chain.place(), others[0]),
                )
                .fix("give that filter a higher number (`tc filter`), or attach by TCX (Linux 6.6)"),
            );
        } else {
            behind.push(format!("{} ({})", others.join(", "), chain.place()));
        }
    }
    if findings.is_empty() {
        let what = if behind.is_empty() {
            "no programs of others in the way".to_owned()
        } else {
            format!("ours will see packets before {}", behind.join(", "))
        };
        findings.push(Finding::ok("tc-order", what));
    }
    findings
}

fn first_priority(chain: &Chain) -> Option<u16> {
    Some(chain.members.first()?.filter.as_ref()?.priority)
}
