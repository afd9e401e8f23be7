//! The two kinds of hook on an interface's ingress.

use anyhow::{Context, Result};
use aya::programs::{
    LinkOrder, ProgramError, TcAttachType, TcHandle,
    links::Link as _,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions},
};

use super::load::Datapath;
use crate::host::{Interface, Link, qdisc};

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

/// A program on one interface.
pub(super) struct Attachment {
    bpf_link: SchedClassifierLink,
    pub hook: Hook,
    /// The kind of link that the program is for.
    pub link: Link,
    /// The program's id.
    pub program: u32,
    /// Whether it was told that others are before it.
    pub told: bool,
    /// Whether the clsact qdisc is there because of us.
    made_qdisc: bool,
}

/// The program for a kind of link.
pub(crate) fn program(link: Link) -> &'static str {
    match link {
        Link::Ethernet => "tc_ingress",
        Link::BridgePort(_) => "tc_ingress_port",
        Link::Layer3 => "tc_ingress_l3",
    }
}

impl Datapath {
    pub(super) fn attach(&mut self, interface: &Interface, mode: AttachMode) -> Result<Attachment> {
        let (name, program) = (&interface.name, program(interface.link));
        let attached = match mode {
            AttachMode::Tcx => self.attach_tcx(interface),
            AttachMode::Clsact => self.attach_clsact(interface),
            AttachMode::Auto => match self.attach_tcx(interface) {
                Err(error) if is_no_tcx(&error) => self.attach_clsact(interface),
                attached => attached,
            },
        };
        let attachment = attached.with_context(|| format!("attach {program} to {name}"))?;
        let hook = attachment.hook;
        tracing::info!(program, ifindex = interface.index, interface = name, %hook, "attached");
        Ok(attachment)
    }

    /// Attaches anew, at the same hook. At TCX the new program is there before the old one goes.
    pub(super) fn reattach(&mut self, interface: &Interface) -> Result<()> {
        let Some(old) = self.interfaces.remove(&interface.index) else { return Ok(()) };
        let (hook, made_qdisc) = (old.hook, old.made_qdisc);
        let attached = match hook {
            Hook::Tcx => {
                let attached = self.attach(interface, AttachMode::Tcx);
                old.let_go();
                attached
            }
            // The new filter may want the old one's priority.
            Hook::Clsact => {
                old.let_go();
                self.attach(interface, AttachMode::Clsact)
            }
        };
        let mut attachment = attached?;
        attachment.made_qdisc |= made_qdisc;
        self.interfaces.insert(interface.index, attachment);
        Ok(())
    }

    fn attach_tcx(&mut self, interface: &Interface) -> Result<Attachment> {
        // First: behind a CNI's program that redirects we would never run.
        let program = self.classifier(program(interface.link))?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(&interface.name, TcAttachType::Ingress, order)?;
        let (bpf_link, program) = (program.take_link(link)?, program.info()?.id());
        // What an agent that was killed left at the other hook goes.
        if qdisc::remove_our_filters(interface.index)? {
            qdisc::remove_unused_clsact(interface.index)?;
        }
        let (hook, link) = (Hook::Tcx, interface.link);
        Ok(Attachment { bpf_link, hook, link, program, told: false, made_qdisc: false })
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
        let program = self.classifier(program(interface.link))?;
        let link = program.attach_with_options(&interface.name, TcAttachType::Ingress, options)?;
        let (bpf_link, program) = (program.take_link(link)?, program.info()?.id());
        let (hook, link) = (Hook::Clsact, interface.link);
        Ok(Attachment { bpf_link, hook, link, program, told: false, made_qdisc })
    }
}

impl Attachment {
    /// Whether another kind of link needs another program.
    pub(super) fn changes_program(&self, link: Link) -> bool {
        program(self.link) != program(link)
    }

    /// Detaches it, where it still is: somebody else may have done so.
    fn let_go(self) {
        if let Err(error) = self.bpf_link.detach() {
            tracing::debug!("detach the program that was there: {error:#}");
        }
    }

    pub(super) fn detach(self, ifindex: u32) -> Result<()> {
        let detached = self.bpf_link.detach();
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
