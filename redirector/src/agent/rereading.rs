//! When everything is read from the kernel again.

use std::time::Duration;

use tokio::time::Instant;

/// Asked for, and asked for again where it failed: soon at first, and ever less often.
#[derive(Default)]
pub struct Rereading {
    due: Option<Instant>,
    failures: u32,
}

/// The first pause after a failure, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

impl Rereading {
    /// At once.
    pub fn ask(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// When it is time.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It was read, or could not be.
    pub fn done(&mut self, well: bool) {
        let [first, longest] = PAUSES;
        let pause = first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(longest);
        self.due = (!well).then(|| Instant::now() + pause);
        self.failures = if well { 0 } else { self.failures.saturating_add(1) };
    }
}
