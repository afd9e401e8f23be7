//! The proxies' listeners as the kernel finds them.

use anyhow::{Context, Result};
use aya::programs::{TestRun as _, TestRunOptions};
use redirector_common::{Family, Protocol, Reason, entries::listener_index};

use super::load::Datapath;

/// What a proxy's listener can do in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Takes any connection.
    Ready,
    /// Takes connections, all or some not: the reason names which.
    Limited(Reason),
    /// Takes no connection.
    No(Reason),
}

impl Datapath {
    /// Has the kernel look a proxy's listener up and store it, as `tc_ingress` would at the next SYN.
    ///
    /// # Errors
    ///
    /// The test run failed.
    pub fn learn(&mut self, proxy: u32, protocol: Protocol, family: Family) -> Result<Listening> {
        let mut context = [0_u8; CONTEXT_SIZE];
        let index = listener_index(proxy, protocol, family);
        context[MARK..MARK + 4].copy_from_slice(&index.to_ne_bytes());
        // The shortest packet that the kernel takes for a test run; the program does not read it.
        let packet = [0_u8; 14 + 20];
        let run = TestRunOptions { data_in: Some(&packet), ctx_in: Some(&context), ..TestRunOptions::new() };
        let program = self.classifier("learn_listener")?;
        let number = program.test_run(run).context("run learn_listener")?.return_value;
        let reason = u8::try_from(number).ok().and_then(Reason::from_number);
        Ok(match reason.with_context(|| format!("learn_listener returned {number}"))? {
            Reason::Proxy => Listening::Ready,
            reason @ Reason::NotTransparent => Listening::Limited(reason),
            reason => Listening::No(reason),
        })
    }
}

/// Size of `struct __sk_buff`, and the offset of its `mark` (include/uapi/linux/bpf.h).
const CONTEXT_SIZE: usize = 192;
const MARK: usize = 8;
