//! Where the programs are attached, and how they come off again.

use anyhow::{Context, Result};
use aya::{
    maps::{HashMap, MapData},
    programs::{
        LinkOrder, ProgramError, TcAttachType, TcHandle,
        links::Link,
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions},
    },
};

use super::load::{Datapath, map_mut, sk_lookup};
use crate::host::{Interface, qdisc};

/// Which kind of hook to use on an interface's ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX, or clsact on a kernel before 6.6.
    #[default]
    Auto,
    /// TCX: ordered, and gone with the agent.
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact,
}

/// The hook that a program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// TCX ingress.
    Tcx,
    /// Ingress of the clsact qdisc.
    Clsact,
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// `tc_ingress` on one interface.
pub(super) struct Attachment {
    link: SchedClassifierLink,
    hook: Hook,
    /// Whether the clsact qdisc is there because of us.
    made_qdisc: bool,
}

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
        tracing::info!(program = "sk_lookup", "attached");
        Ok(())
    }

    /// Attaches `tc_ingress` to an interface, before the programs that are there.
    ///
    /// # Errors
    ///
    /// The kernel refused; the interface is then as it was.
    pub fn capture(&mut self, interface: &Interface, mode: AttachMode) -> Result<Hook> {
        let name = &interface.name;
        self.set_captured(interface.index, true)?;
        let attachment = match mode {
            AttachMode::Tcx => self.attach_tcx(interface),
            AttachMode::Clsact => self.attach_clsact(interface),
            AttachMode::Auto => match self.attach_tcx(interface) {
                Err(error) if is_no_tcx(&error) => self.attach_clsact(interface),
                attached => attached,
            },
        };
        let attachment =
            attachment.with_context(|| format!("attach tc_ingress to {name}")).inspect_err(|_| {
                let _ = self.set_captured(interface.index, false);
            })?;
        let hook = attachment.hook;
        tracing::info!(program = "tc_ingress", ifindex = interface.index, interface = name, %hook, "attached");
        self.interfaces.insert(interface.index, attachment);
        Ok(hook)
    }

    /// Takes `tc_ingress` off an interface, which may be gone.
    ///
    /// # Errors
    ///
    /// The kernel refused, and the interface is still there.
    pub fn release(&mut self, ifindex: u32) -> Result<()> {
        let Some(attachment) = self.interfaces.remove(&ifindex) else { return Ok(()) };
        self.set_captured(ifindex, false)?;
        tracing::info!(program = "tc_ingress", ifindex, hook = %attachment.hook, "detach");
        attachment.detach(ifindex)
    }

    /// Interfaces that `tc_ingress` is attached to, by ifindex.
    pub fn captured(&self) -> impl Iterator<Item = u32> {
        self.interfaces.keys().copied()
    }

    /// Detaches everything: first what steers, then what takes it.
    ///
    /// # Errors
    ///
    /// The kernel refused; the rest is detached all the same.
    pub fn detach(&mut self) -> Result<()> {
        let mut result = Ok(());
        for ifindex in self.captured().collect::<Vec<_>>() {
            result = result.and(self.release(ifindex));
        }
        if let Some(link) = self.sk_lookup.take() {
            result = result.and(link.detach().context("detach sk_lookup"));
        }
        result
    }

    fn attach_tcx(&mut self, interface: &Interface) -> Result<Attachment> {
        // First: behind a CNI's program that redirects we would never run.
        let program = self.tc_ingress()?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(&interface.name, TcAttachType::Ingress, order)?;
        let link = program.take_link(link)?;
        // What an agent that was killed left at the other hook goes.
        if qdisc::remove_our_filters(interface.index)? {
            qdisc::remove_unused_clsact(interface.index)?;
        }
        Ok(Attachment { link, hook: Hook::Tcx, made_qdisc: false })
    }

    fn attach_clsact(&mut self, interface: &Interface) -> Result<Attachment> {
        let mut made_qdisc = qdisc::add_clsact(interface.index)?;
        // What an agent that was killed left passes everything, and may have the priority that is wanted here.
        made_qdisc |= qdisc::remove_our_filters(interface.index)?;
        self.attach_filter(interface, made_qdisc).inspect_err(|_| {
            if made_qdisc {
                let _ = qdisc::remove_unused_clsact(interface.index);
            }
        })
    }

    fn attach_filter(&mut self, interface: &Interface, made_qdisc: bool) -> Result<Attachment> {
        // Before the filters that are there, any of which may end the chain. With 0, where there is none or no room
        // before them, the kernel picks one: 49152, or less if that is taken (net/sched/cls_api.c, tcf_auto_prio).
        let lowest = qdisc::lowest_priority(interface.index)?;
        let priority = lowest.map_or(0, |lowest| lowest.saturating_sub(1));
        let handle = TcHandle::new(qdisc::HANDLE.major, qdisc::HANDLE.minor);
        let options = TcAttachOptions::Netlink(NlOptions { priority, handle, ..NlOptions::default() });
        let program = self.tc_ingress()?;
        let link = program.attach_with_options(&interface.name, TcAttachType::Ingress, options)?;
        Ok(Attachment { link: program.take_link(link)?, hook: Hook::Clsact, made_qdisc })
    }

    fn set_captured(&mut self, ifindex: u32, captured: bool) -> Result<()> {
        let mut map: HashMap<&mut MapData, u32, u8> =
            HashMap::try_from(map_mut(&mut self.ebpf, "CAPTURED")?)?;
        if captured {
            map.insert(ifindex, 1, 0).context("write CAPTURED")
        } else {
            map.remove(&ifindex).context("write CAPTURED")
        }
    }
}

impl Attachment {
    fn detach(self, ifindex: u32) -> Result<()> {
        let detached = self.link.detach();
        if qdisc::interface_is_gone(ifindex)? {
            return Ok(());
        }
        detached.context("detach tc_ingress")?;
        if self.made_qdisc {
            qdisc::remove_unused_clsact(ifindex)?;
        }
        Ok(())
    }
}

/// What a kernel without TCX answers to a TCX link (before 6.6: BPF_TCX_INGRESS is not known to BPF_LINK_CREATE).
fn is_no_tcx(error: &anyhow::Error) -> bool {
    let Some(ProgramError::SyscallError(error)) = error.downcast_ref::<ProgramError>() else { return false };
    error.io_error.raw_os_error() == Some(libc::EINVAL)
}
