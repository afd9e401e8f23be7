//! From a reason to what is done.

use redirector_common::{Protocol, Reason, Verdict, entries::OnUnavailable};

use super::{Decision, Expected, Host, Packet, answer, transport::Segment};

/// What is done for a reason: the documents' one table of it.
pub fn verdict(reason: Reason, otherwise: OnUnavailable) -> Verdict {
    match reason {
        Reason::Proxy | Reason::Established | Reason::SynCookie | Reason::IcmpError => Verdict::Steered,
        Reason::Interface => Verdict::Forwarded,
        Reason::DropRoute => Verdict::Dropped,
        reason if is_unavailable(reason) => match otherwise {
            OnUnavailable::Pass => Verdict::Passed,
            OnUnavailable::Drop => Verdict::Dropped,
            OnUnavailable::Reset => Verdict::Reset,
        },
        _ => Verdict::Passed,
    }
}

/// Whether the route's target could not take it, so that its `else` says what becomes of it.
pub fn is_unavailable(reason: Reason) -> bool {
    use Reason::*;
    let proxy = matches!(reason, NoListener | NotTransparent | MptcpListener | DeviceBound | Detached);
    proxy || matches!(reason, NoInterface | TooBig)
}

/// What a program returns (include/uapi/linux/bpf.h, `enum tcx_action_base`).
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
const TCX_REDIRECT: i32 = 7;

/// All that a decision causes.
pub fn carry_out(host: &Host, packet: &Packet, segment: Option<Segment>, decision: Decision) -> Expected {
    let Decision { reason, mut verdict, counted, handed_over, leaves_by, .. } = decision;
    let mut bytes = packet.bytes.clone();
    let mut mark = packet.mark;
    let returned = match (verdict, segment) {
        (Verdict::Steered, _) => {
            mark |= host.mark;
            packet.bring_up(host.bridge, &mut bytes);
            TCX_NEXT
        }
        (Verdict::Forwarded, _) => {
            let ethernet = leaves_by.is_some_and(|name| host.has_ethernet(&name));
            let family = packet.family().expect("what is not IP has no route");
            bytes = answer::after_a_hop(packet, family, ethernet);
            TCX_REDIRECT
        }
        // A reset is not answered.
        (Verdict::Reset, Some(segment)) if segment.resets() => {
            verdict = Verdict::Dropped;
            TCX_DROP
        }
        (Verdict::Reset, Some(segment)) => match segment.flow.protocol {
            Protocol::Tcp => {
                bytes = answer::reset(packet, &segment);
                TCX_REDIRECT
            }
            Protocol::Udp => match answer::unreachable(packet, &segment) {
                Some(answer) => {
                    bytes = answer;
                    TCX_REDIRECT
                }
                None => {
                    verdict = Verdict::Dropped;
                    TCX_DROP
                }
            },
        },
        (Verdict::Dropped, _) => TCX_DROP,
        _ => TCX_NEXT,
    };
    Expected { reason, verdict, counted, returned, bytes, mark, handed_over }
}
