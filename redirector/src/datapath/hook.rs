//! The two kinds of hook on an interface's ingress.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context, Result};

use super::{
    defunct::Defunct,
    load::{Datapath, IDLE},
};
use crate::{
    host::{Interface, Link, qdisc},
    sys::{
        links,
        objects::{self, AttachType},
    },
};

/// Which kind of hook to use on an interface's ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX, and clsact until there is time for that; on a kernel before 6.6, clsact.
    #[default]
    Auto,
    /// TCX alone: ordered, and gone with the agent.
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
    /// At TCX, which the program leaves when this is closed. A filter is known by its handle and its name.
    pub bpf_link: Option<OwnedFd>,
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
    pub(super) fn attach(&mut self, interface: &Interface, hook: Hook) -> Result<Attachment> {
        let (name, program) = (&interface.name, program(interface.link));
        let attached = match hook {
            Hook::Tcx => self.attach_tcx(interface),
            Hook::Clsact => self.attach_clsact(interface),
        };
        let attachment = attached.with_context(|| format!("attach {program} to {name}"))?;
        tracing::debug!(program, ifindex = interface.index, interface = name, %hook, "attached");
        Ok(attachment)
    }

    /// Attaches anew, at the same hook. At TCX the new program is there before the old one goes. Of an interface that went meanwhile
    /// the old one is kept, until the notice of that comes.
    pub(super) fn reattach(&mut self, interface: &Interface) -> Result<()> {
        let Some(old) = self.interfaces.remove(interface.index) else { return Ok(()) };
        // The new filter may want the old one's priority.
        let removed = match old.hook {
            Hook::Tcx => Ok(()),
            Hook::Clsact => qdisc::remove_our_filters(interface.index).map(drop),
        };
        match removed.and_then(|()| self.attach(interface, old.hook)) {
            Ok(mut attachment) => {
                attachment.made_qdisc |= old.made_qdisc;
                self.interfaces.insert(interface.index, attachment);
                Ok(())
            }
            Err(error) => {
                if is_gone(&error) {
                    self.interfaces.insert(interface.index, old);
                } else {
                    let _ = self.unset_captured(interface.index);
                }
                Err(error)
            }
        }
    }

    /// Moves a program from clsact to TCX. Until the kernel is done with that an idle program holds the place there, or for a
    /// grace period of RCU each packet that passes would be counted by both.
    pub(super) fn attach_tcx_instead(&mut self, interface: &Interface) -> Result<Attachment> {
        let bpf_link = self.link_tcx(IDLE, interface.index)?;
        let name = program(interface.link);
        self.again_where_it_is(|datapath| {
            let program = datapath.classifier(name)?;
            Ok(links::update_link(bpf_link.as_fd(), program.fd()?.as_fd())?)
        })?;
        self.at_tcx(interface.link, bpf_link)
    }

    fn attach_tcx(&mut self, interface: &Interface) -> Result<Attachment> {
        let bpf_link = self.link_tcx(program(interface.link), interface.index)?;
        self.at_tcx(interface.link, bpf_link)
    }

    fn at_tcx(&mut self, link: Link, bpf_link: OwnedFd) -> Result<Attachment> {
        let program = self.classifier(program(link))?.info()?.id();
        let bpf_link = Some(bpf_link);
        Ok(Attachment { bpf_link, hook: Hook::Tcx, link, program, told: false, made_qdisc: false })
    }

    /// By ifindex, as all of this: an interface that has a name may have another one by now.
    fn link_tcx(&mut self, name: &str, ifindex: u32) -> Result<OwnedFd> {
        self.again_where_it_is(|datapath| {
            let program = datapath.classifier(name)?;
            // First: behind a CNI's program that redirects we would never run.
            Ok(links::attach_tcx_first(program.fd()?.as_fd(), ifindex)?)
        })
    }

    /// An interface keeps its programs when it moves to another namespace, and one that is back may have ours still: the
    /// link is about to be closed.
    fn again_where_it_is<T>(&mut self, attach: impl Fn(&mut Self) -> Result<T>) -> Result<T> {
        match attach(self) {
            Err(error) if is(&error, libc::EEXIST) => {
                self.defunct = Defunct::new();
                attach(self)
            }
            attached => attached,
        }
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
        let name = program(interface.link);
        let program = self.classifier(name)?;
        qdisc::add_filter(interface.index, priority, program.fd()?.as_fd(), name)?;
        let (hook, link, program) = (Hook::Clsact, interface.link, program.info()?.id());
        Ok(Attachment { bpf_link: None, hook, link, program, told: false, made_qdisc })
    }
}

impl Attachment {
    /// Whether another kind of link needs another program.
    pub(super) fn changes_program(&self, link: Link) -> bool {
        program(self.link) != program(link)
    }

    /// Detaches it, where it still is: somebody else may have done so, or the interface may be gone.
    pub(super) fn detach(self, ifindex: u32) -> Result<()> {
        if self.hook == Hook::Clsact {
            qdisc::remove_our_filters(ifindex).context("detach tc_ingress")?;
        }
        if self.made_qdisc && !qdisc::interface_is_gone(ifindex)? {
            qdisc::remove_unused_clsact(ifindex)?;
        }
        Ok(())
    }
}

/// Whether the kernel has TCX: one that has not does not know the hook that it is asked about (before 6.6).
///
/// # Errors
///
/// The kernel's; EPERM without CAP_NET_ADMIN.
pub fn has_tcx() -> io::Result<bool> {
    match objects::tcx_programs(LOOPBACK, AttachType::TcxIngress) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        result => result.map(|_| true),
    }
}

/// Number of the loopback device, which every network namespace has (include/net/net_namespace.h).
const LOOPBACK: u32 = 1;

/// Whether the interface went before a program could be attached to it, or a link of it be led to another.
pub fn is_gone(error: &anyhow::Error) -> bool {
    is(error, libc::ENODEV) || is(error, libc::ENOLINK)
}

fn is(error: &anyhow::Error, code: i32) -> bool {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(code)
}
