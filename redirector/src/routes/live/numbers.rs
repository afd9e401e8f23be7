//! Numbers that are given out, and given back when nothing in the kernel can mean them any more.

/// Gives out the lowest numbers that are free, or nearly.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u32,
    free: Vec<u32>,
}

impl Numbers {
    /// A number that nobody has.
    pub fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Nobody has it any more.
    pub fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }

    /// How many below a limit nobody has.
    pub fn room(&self, limit: u32) -> usize {
        limit.saturating_sub(self.next) as usize + self.free.len()
    }

    /// One more than the highest that was ever given out.
    pub fn end(&self) -> u32 {
        self.next
    }
}
