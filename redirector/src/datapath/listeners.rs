//! The proxies' listeners as the kernel finds them.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result};
use aya::programs::ProgramFd;
use redirector_common::{Family, Protocol, Reason, entries::listener_index};

use super::load::Datapath;
use crate::sys;

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

/// What looks listeners up, without the rest of the datapath: it may be used on another thread of the same network
/// namespace.
#[derive(Debug)]
pub struct Learner(ProgramFd);

impl Datapath {
    /// Has the kernel look a proxy's listener up and store it, as `tc_ingress` would at the next SYN.
    ///
    /// # Errors
    ///
    /// The test run failed.
    pub fn learn(&mut self, proxy: u32, protocol: Protocol, family: Family) -> Result<Listening> {
        self.learner()?.learn(proxy, protocol, family)
    }

    /// The same for a SYN that comes by an interface: a listener may be bound to another device.
    ///
    /// # Errors
    ///
    /// The test run failed.
    pub fn learn_by(
        &mut self,
        ifindex: u32,
        proxy: u32,
        protocol: Protocol,
        family: Family,
    ) -> Result<Listening> {
        self.learner()?.run(ifindex, proxy, protocol, family)
    }

    /// What looks listeners up.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn learner(&mut self) -> Result<Learner> {
        let program = self.classifier("learn_listener")?.fd()?.try_clone();
        program.context("share learn_listener").map(Learner)
    }
}

impl Learner {
    /// As [`Datapath::learn`].
    ///
    /// # Errors
    ///
    /// The test run failed.
    pub fn learn(&self, proxy: u32, protocol: Protocol, family: Family) -> Result<Listening> {
        self.run(LOOPBACK, proxy, protocol, family)
    }

    fn run(&self, ifindex: u32, proxy: u32, protocol: Protocol, family: Family) -> Result<Listening> {
        let mark = listener_index(proxy, protocol, family);
        let mut context = sys::Context::new(mark, ifindex, [0; 5]);
        // The shortest packet that the kernel takes for a test run; the program does not read it.
        let packet = [0_u8; 14 + 20];
        let number = sys::test_run(self.0.as_fd(), &packet, &mut context).context("run learn_listener")?;
        let reason = u8::try_from(number).ok().and_then(Reason::from_number);
        Ok(match reason.with_context(|| format!("learn_listener returned {number}"))? {
            Reason::Proxy => Listening::Ready,
            reason @ Reason::NotTransparent => Listening::Limited(reason),
            reason => Listening::No(reason),
        })
    }
}

/// The loopback device (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;
