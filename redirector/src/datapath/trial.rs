//! Asks the loaded programs what would become of a packet, which they neither count nor tell of.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use redirector_common::entries::{Answer, TRIAL};

use super::{hook::program, load::Datapath};
use crate::{host::Link, sys};

impl Datapath {
    /// What the program of an interface with this kind of link would do with a packet that begins with an Ethernet header,
    /// and the program's name. `ifindex` is that of the interface, which is of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel refused the run, or the interface is gone.
    pub fn ask(&mut self, link: Link, ifindex: u32, packet: &[u8]) -> Result<(&'static str, Answer)> {
        // A test run takes the first bytes for an Ethernet header, whatever the interface, so that the program for packets
        // without one is not asked; it has the same code behind the header.
        let (name, ifindex) = match link {
            Link::Layer3 => (program(Link::Ethernet), 0),
            link => (program(link), ifindex),
        };
        let descriptor = self.classifier(name)?.fd()?.try_clone().with_context(|| format!("share {name}"))?;
        let mut context = sys::Context::new(0, ifindex, [TRIAL, 0, 0, 0, 0]);
        sys::test_run(descriptor.as_fd(), packet, &mut context).with_context(|| format!("run {name}"))?;
        let [_, outcome, route, ..] = context.cb;
        let answer = Answer::read([outcome, route]).with_context(|| format!("{name} gave no answer"))?;
        Ok((name, answer))
    }
}
