//! Test runs that ask what would become of a packet: `redirector explain` has the attached program itself decide it. They
//! count nothing, tell nobody of a connection, and hand nothing over.

use aya_ebpf::programs::TcContext;
use redirector_common::{
    Reason, Verdict,
    entries::{Answer, TRIAL},
};

use crate::handoff;

/// Whether the packet is none, but a question.
///
/// The kernel writes `ingress_ifindex` before it asks a program of an interface's ingress (net/core/dev.c,
/// `__netif_receive_skb_core`), and no program can change it. It is zero in a test run only, so that neither what comes by
/// the wire nor another program can pass for one; a test run that is not a question, as of a benchmark, has no `TRIAL`.
#[inline(always)]
pub fn asks(ctx: &TcContext) -> bool {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let received = unsafe { (*ctx.skb.skb).ingress_ifindex } != 0;
    // SAFETY: as above.
    !received && unsafe { (*ctx.skb.skb).cb[0] } == TRIAL
}

/// Answers. What was handed over on the way is for nobody.
#[inline(always)]
pub fn answer(ctx: &TcContext, verdict: Verdict, reason: Reason, route: Option<u32>) {
    let [outcome, route] = Answer { verdict, reason, route }.write();
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    unsafe { (*ctx.skb.skb).cb[1] = outcome };
    // SAFETY: as above.
    unsafe { (*ctx.skb.skb).cb[2] = route };
    handoff::withdraw();
}
