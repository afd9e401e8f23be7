//! Which interfaces are captured: where the programs are attached, and how they come off again.

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use redirector_common::entries::CapturedEntry;

use super::{
    hook::{Attachment, Hook},
    load::{Datapath, map_mut, sk_lookup},
};
use crate::host::{Interface, Link, qdisc};

impl Datapath {
    /// Attaches `sk_lookup` to the netns of the calling thread. Until an interface is captured, it finds nothing to do.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn attach_sk_lookup(&mut self) -> Result<()> {
        let netns = std::fs::File::open("/proc/thread-self/ns/net").context("open the network namespace")?;
        let program = sk_lookup(&mut self.ebpf)?;
        let link = program.attach(netns).context("attach sk_lookup to the network namespace")?;
        self.sk_lookup = Some(program.take_link(link)?);
        tracing::debug!(program = "sk_lookup", "attached");
        Ok(())
    }

    /// Attaches the program for its kind of link to an interface, before the programs that are there.
    ///
    /// # Errors
    ///
    /// The kernel refused; the interface is then as it was.
    pub fn capture(&mut self, interface: &Interface, hook: Hook) -> Result<()> {
        self.set_captured(interface)?;
        let attachment = self.attach(interface, hook).inspect_err(|_| {
            let _ = self.unset_captured(interface.index);
        })?;
        self.interfaces.insert(interface.index, attachment);
        Ok(())
    }

    /// Moves the program of an interface from clsact to TCX. The filter, and the qdisc if it was ours and nobody uses it, go when the
    /// program is at TCX.
    ///
    /// # Errors
    ///
    /// The kernel refused. The interface is captured all the same.
    pub fn move_to_tcx(&mut self, interface: &Interface) -> Result<()> {
        let attachment = self
            .attach_tcx_instead(interface)
            .with_context(|| format!("move the program of {} to TCX", interface.name))?;
        let filter = self.interfaces.remove(interface.index);
        self.interfaces.insert(interface.index, attachment);
        filter.map_or(Ok(()), |filter| filter.detach(interface.index))
    }

    /// Follows an interface that is captured and has become, or ceased to be, a port of a bridge, or whose bridge has
    /// another MAC address now. Whether it is another program's now.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn adapt(&mut self, interface: &Interface) -> Result<bool> {
        let Some(attachment) = self.interfaces.get_mut(interface.index) else { return Ok(false) };
        if attachment.link == interface.link {
            return Ok(false);
        }
        let changes_program = attachment.changes_program(interface.link);
        attachment.link = interface.link;
        self.set_captured(interface)?;
        if changes_program {
            self.reattach(interface)?;
        }
        Ok(changes_program)
    }

    /// Takes the program off an interface, which may be gone.
    ///
    /// # Errors
    ///
    /// The kernel refused, and the interface is still there.
    pub fn release(&mut self, ifindex: u32) -> Result<()> {
        let Some(attachment) = self.interfaces.remove(ifindex) else { return Ok(()) };
        self.unset_captured(ifindex)?;
        tracing::debug!(ifindex, hook = %attachment.hook, "detach");
        attachment.detach(ifindex)
    }

    /// Forgets an interface that is gone, and the program with it. Whether it was captured.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn forget(&mut self, ifindex: u32) -> Result<bool> {
        let Some(attachment) = self.interfaces.remove(ifindex) else { return Ok(false) };
        tracing::debug!(ifindex, hook = %attachment.hook, "gone");
        self.defunct.extend(attachment.bpf_link);
        self.unset_captured(ifindex)?;
        Ok(true)
    }

    /// Takes away what an agent that was killed left at the hook of an interface that is captured at the other one.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn tidy(&self, ifindex: u32) -> Result<()> {
        match self.interfaces.get(&ifindex) {
            Some(Attachment { hook: Hook::Tcx, .. }) if qdisc::remove_our_filters(ifindex)? => {
                qdisc::remove_unused_clsact(ifindex)
            }
            _ => Ok(()),
        }
    }

    /// Where the program of an interface is, if it is captured.
    pub fn hook(&self, ifindex: u32) -> Option<Hook> {
        self.interfaces.get(&ifindex).map(|attachment| attachment.hook)
    }

    /// What is attached: ifindex, hook, and the kind of link that the program is for.
    pub fn attachments(&self) -> impl Iterator<Item = (u32, Hook, Link)> {
        self.interfaces.iter().map(|(index, attachment)| (*index, attachment.hook, attachment.link))
    }

    /// Interfaces that are captured, by ifindex.
    pub fn captured(&self) -> impl Iterator<Item = u32> {
        self.interfaces.keys().copied()
    }

    /// How many of them have a program at this kind of hook.
    pub fn attached_at(&self, hook: Hook) -> usize {
        self.interfaces.at(hook)
    }

    /// Whether `sk_lookup` is attached, which takes what is steered.
    pub fn takes(&self) -> bool {
        self.sk_lookup.is_some()
    }

    fn set_captured(&mut self, interface: &Interface) -> Result<()> {
        let bridge = match interface.link {
            Link::BridgePort(mac) => mac,
            Link::Ethernet | Link::Layer3 => [0; 6],
        };
        let entry = CapturedEntry { bridge, pad: 0 };
        self.captured_map()?.insert(interface.index, entry, 0).context("write CAPTURED")
    }

    pub(super) fn unset_captured(&mut self, ifindex: u32) -> Result<()> {
        self.captured_map()?.remove(&ifindex).context("write CAPTURED")
    }

    fn captured_map(&mut self) -> Result<HashMap<&mut MapData, u32, CapturedEntry>> {
        Ok(HashMap::try_from(map_mut(&mut self.ebpf, "CAPTURED")?)?)
    }
}
