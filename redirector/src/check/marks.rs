//! Who else uses bits of the mark.

use crate::{
    finding::Finding,
    host::{RoutingEntry, netfilter},
};

/// Rules of others, and of netfilter, that read or set bits of ours.
pub fn overlap(mark: u32, others: &[RoutingEntry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in others {
        let Some((value, mask)) = entry.rule.as_ref().and_then(|rule| rule.mark) else { continue };
        if mask & mark == 0 {
            continue;
        }
        let owner = owner(value, mask).map_or(String::new(), |owner| format!(" ({owner})"));
        let another = "set `mark` to a bit that nobody uses, and restart the agent";
        findings.push(if value & mark != 0 {
            let what =
                format!("{entry}{owner}: its packets have our mark {mark:#x} and would be delivered here");
            Finding::fail("mark-overlap", what).fix(another)
        } else {
            Finding::warn(
                "mark-overlap",
                format!("{entry}{owner}: it does not see what has our mark {mark:#x}"),
            )
            .fix(format!("let it ask with a mask that leaves {mark:#x} out, or {another}"))
        });
    }
    match netfilter::mark_users(mark) {
        Ok(users) if users.is_empty() => {}
        Ok(users) => findings.push(
            Finding::warn("mark-overlap", format!("rules on bits of mark {mark:#x} in {}", users.join(", ")))
                .fix("fine if they are there to accept what is steered; else set `mark` to another bit"),
        ),
        Err(error) => findings.push(
            Finding::warn("mark-overlap", format!("cannot be told of netfilter: {error:#}"))
                .fix("check again as root"),
        ),
    }
    if findings.is_empty() {
        findings.push(Finding::ok("mark-overlap", format!("nobody else uses mark {mark:#x}")));
    }
    findings
}

/// Whose marks these are, as far as they are known by their numbers. flannel sets none.
fn owner(value: u32, mask: u32) -> Option<&'static str> {
    const WHOLE: u32 = u32::MAX;
    match (value, mask) {
        (_, 0xf00) => Some("Cilium"),
        (_, 0xf000 | 0xff00 | 0xf0_0f00 | 0xffff_ff00) => Some("Cilium with IPsec"),
        (0x4000 | 0x8000, mask) if mask == value => Some("kube-proxy"),
        (0x539 | 0x111, 0xfff | WHOLE) => Some("Istio"),
        (0x4_0000 | 0x8_0000, 0xff_0000) => Some("Tailscale"),
        (value, WHOLE) if value > 0xffff || value == 0xca6c => Some("WireGuard or another whole mark"),
        (_, mask) if mask & 0xffff == 0 => Some("Calico"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn the_usual_owners_are_known_by_their_numbers() {
        for (value, mask, name) in [
            (0x200, 0xf00, Some("Cilium")),
            (0xd00, 0xff00, Some("Cilium with IPsec")),
            (0x4000, 0x4000, Some("kube-proxy")),
            (0x8000, 0x8000, Some("kube-proxy")),
            (0x10000, 0xffff_0000, Some("Calico")),
            (0x539, u32::MAX, Some("Istio")),
            (0x111, 0xfff, Some("Istio")),
            (0x80000, 0xff0000, Some("Tailscale")),
            (0x2000, 0x2000, None),
        ] {
            assert_eq!(owner(value, mask), name, "{value:#x}/{mask:#x}");
        }
    }
}
