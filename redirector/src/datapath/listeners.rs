//! The proxies' listeners as the kernel finds them.

use std::{fmt, net::SocketAddr, os::fd::AsFd as _};

use anyhow::{Context, Result};
use aya::programs::ProgramFd;
use redirector_common::{
    Family, Protocol, Reason,
    entries::{ProxyEntry, listener_index},
};

use super::load::Datapath;
use crate::{host, sys};

/// Where a proxy's listener in one family is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerAddress {
    /// By what it listens.
    pub protocol: Protocol,
    /// Address and port.
    pub at: SocketAddr,
}

impl ListenerAddress {
    /// Those of a proxy.
    pub fn of(proxy: &ProxyEntry) -> impl Iterator<Item = Self> {
        let (protocol, port) = (proxy.protocol(), proxy.port);
        [Family::V4, Family::V6]
            .into_iter()
            .map(|family| proxy.address(family).ip(family))
            .filter(|address| !address.is_unspecified())
            .map(move |address| Self { protocol, at: SocketAddr::new(address, port) })
    }

    fn family(&self) -> Family {
        if self.at.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// As routes have it: TCP goes without saying.
impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}", self.at),
            Protocol::Udp => write!(f, "udp/{}", self.at),
        }
    }
}

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
    /// Has the kernel look a proxy's listener up and store it, as `tc_ingress` would at the next SYN or datagram.
    ///
    /// # Errors
    ///
    /// The test run failed.
    pub fn learn(&mut self, proxy: u32, address: ListenerAddress) -> Result<Listening> {
        self.learner()?.learn(proxy, address)
    }

    /// The same for a SYN that comes by an interface: a listener may be bound to another device.
    ///
    /// # Errors
    ///
    /// The test run failed.
    pub fn learn_by(&mut self, ifindex: u32, proxy: u32, address: ListenerAddress) -> Result<Listening> {
        self.learner()?.run(ifindex, proxy, address)
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
    pub fn learn(&self, proxy: u32, address: ListenerAddress) -> Result<Listening> {
        self.run(LOOPBACK, proxy, address)
    }

    fn run(&self, ifindex: u32, proxy: u32, address: ListenerAddress) -> Result<Listening> {
        let mark = listener_index(proxy, address.family());
        let mut context = sys::Context::new(mark, ifindex, [0; 5]);
        // The shortest packet that the kernel takes for a test run; the program does not read it.
        let packet = [0_u8; 14 + 20];
        let number = sys::test_run(self.0.as_fd(), &packet, &mut context).context("run learn_listener")?;
        let reason = u8::try_from(number).ok().and_then(Reason::from_number);
        Ok(match reason.with_context(|| format!("learn_listener returned {number}"))? {
            // What the program does not ask of a UDP socket. Where the kernel does not tell, nothing is said against it.
            Reason::Proxy
                if address.protocol == Protocol::Udp && !host::is_transparent(address.at).unwrap_or(true) =>
            {
                Listening::Limited(Reason::NotTransparent)
            }
            Reason::Proxy => Listening::Ready,
            reason @ Reason::NotTransparent => Listening::Limited(reason),
            reason => Listening::No(reason),
        })
    }
}

/// The loopback device (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;
