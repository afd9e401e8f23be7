//! Interfaces that came together, were captured at clsact in a hurry, and are to be at TCX.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::SETTLED;

/// Who waits, and until when. To move one keeps everybody who changes interfaces waiting for a grace period of RCU, so that it
/// is done when no more come and go; while they do, now and then.
pub struct Moves {
    /// By ifindex: those that came first have the lowest.
    waiting: BTreeSet<u32>,
    not_before: Instant,
}

impl Moves {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { waiting: BTreeSet::new(), not_before: Instant::now() }
    }

    /// An interface is to be moved.
    pub fn add(&mut self, index: u32) {
        self.waiting.insert(index);
    }

    /// It is no longer.
    pub fn forget(&mut self, index: u32) {
        self.waiting.remove(&index);
    }

    /// Interfaces come and go. It puts off what can be done now, and nothing that was put off: what lasts long is not waited for.
    pub fn put_off(&mut self) {
        let now = Instant::now();
        if self.not_before <= now {
            self.not_before = now + SETTLED;
        }
    }

    /// Whether interfaces come and go, or came a moment ago: also one that comes then without others to wait for it is one of many.
    pub fn is_storm(&self) -> bool {
        !self.waiting.is_empty() || self.not_before > Instant::now()
    }

    /// Whether an interface waits.
    pub fn waits(&self, index: u32) -> bool {
        self.waiting.contains(&index)
    }

    /// When the next one is to be moved.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.first().map(|_| self.not_before)
    }

    /// The one that is to be moved now.
    pub fn next(&mut self) -> Option<u32> {
        if self.not_before > Instant::now() { None } else { self.waiting.pop_first() }
    }
}
