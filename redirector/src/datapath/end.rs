//! How the programs come off: traffic is given up at once, for all interfaces, and then the hooks are tidied.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result};

use super::{
    hook::Hook,
    load::{Datapath, IDLE},
};
use crate::sys::links;

impl Datapath {
    /// Gives all traffic up: first no more is steered, then none is taken. At TCX the programs make way for one that lets every
    /// packet pass, which takes no grace period; filters are removed.
    ///
    /// # Errors
    ///
    /// The kernel refused; the rest is given up all the same.
    pub fn give_up(&mut self) -> Result<()> {
        let mut result = Ok(());
        let idle = self.classifier(IDLE)?.fd()?.try_clone()?;
        for (ifindex, attachment) in self.interfaces.iter() {
            if let Some(link) = &attachment.bpf_link {
                match links::update_link(link.as_fd(), idle.as_fd()) {
                    // The interface is gone, or somebody has taken the program off.
                    Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                    given_up => {
                        result =
                            result.and(given_up.with_context(|| format!("let go of interface {ifindex}")));
                    }
                }
            }
        }
        let filters = self.interfaces.iter().filter(|(_, attachment)| attachment.hook == Hook::Clsact);
        for ifindex in filters.map(|(ifindex, _)| *ifindex).collect::<Vec<_>>() {
            result = result.and(self.release(ifindex));
        }
        if let Some(link) = self.sk_lookup.take() {
            use aya::programs::links::Link as _;
            result = result.and(link.detach().context("detach sk_lookup"));
        }
        result
    }

    /// Takes the programs off the interfaces, and tells after each how many are left. At TCX each takes a grace period, in which the
    /// kernel holds the lock of all interfaces, so that it is of no use to do it by several threads (kernel/bpf/tcx.c,
    /// tcx_link_release).
    ///
    /// # Errors
    ///
    /// The kernel refused; the rest is detached all the same.
    pub fn detach(&mut self, mut left: impl FnMut(usize)) -> Result<()> {
        let mut result = Ok(());
        while let Some(ifindex) = self.interfaces.keys().next().copied() {
            result = result.and(self.release(ifindex));
            left(self.interfaces.len());
        }
        result
    }
}
