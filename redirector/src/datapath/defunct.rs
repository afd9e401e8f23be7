//! Closes the links of interfaces that are gone.

use std::{
    os::fd::OwnedFd,
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

/// A thread that closes what it is given. To close a TCX link, also one whose interface took its program along, the kernel
/// takes the lock of all interfaces (kernel/bpf/tcx.c, tcx_link_release), for which others wait too: where many go, those
/// that come would wait for it.
pub(super) struct Defunct {
    sender: Option<Sender<OwnedFd>>,
    thread: Option<JoinHandle<()>>,
}

impl Defunct {
    pub fn new() -> Self {
        let (sender, receiver) = channel::<OwnedFd>();
        let thread = thread::spawn(move || receiver.into_iter().for_each(drop));
        Self { sender: Some(sender), thread: Some(thread) }
    }

    pub fn extend(&self, link: Option<OwnedFd>) {
        if let (Some(sender), Some(link)) = (&self.sender, link) {
            // It fails if the thread is gone, and closes the link then.
            let _ = sender.send(link);
        }
    }
}

impl Drop for Defunct {
    /// Waits until all are closed.
    fn drop(&mut self) {
        self.sender = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
