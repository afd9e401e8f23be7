//! What is attached where.

use std::{collections::BTreeMap, ops::Deref};

use super::hook::{Attachment, Hook};

/// The programs on interfaces, by ifindex, and how many there are at each kind of hook.
#[derive(Default)]
pub(super) struct Attachments {
    by_index: BTreeMap<u32, Attachment>,
    at: [usize; 2],
}

impl Attachments {
    /// Adds one, in the place of what was there.
    pub fn insert(&mut self, ifindex: u32, attachment: Attachment) {
        self.remove(ifindex);
        self.at[attachment.hook as usize] += 1;
        self.by_index.insert(ifindex, attachment);
    }

    pub fn remove(&mut self, ifindex: u32) -> Option<Attachment> {
        let attachment = self.by_index.remove(&ifindex)?;
        self.at[attachment.hook as usize] -= 1;
        Some(attachment)
    }

    /// To alter anything but the hook.
    pub fn get_mut(&mut self, ifindex: u32) -> Option<&mut Attachment> {
        self.by_index.get_mut(&ifindex)
    }

    pub fn at(&self, hook: Hook) -> usize {
        self.at[hook as usize]
    }
}

impl Deref for Attachments {
    type Target = BTreeMap<u32, Attachment>;

    fn deref(&self) -> &Self::Target {
        &self.by_index
    }
}
