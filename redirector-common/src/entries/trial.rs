//! What a test run that asks is told, and what it answers, in the words `cb` of a packet's context.

use crate::{Reason, Verdict};

/// In the first word: the test run is a question.
pub const TRIAL: u32 = 0x7472_6961; // "tria"

/// What would become of the packet: the second and the third word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it would get.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Slot of the route that decides, if one does.
    pub route: Option<u32>,
}

impl Answer {
    /// Tells an answer from none: a program of another build gives none.
    const ANSWERED: u32 = 1 << 31;
    const NO_ROUTE: u32 = u32::MAX;

    /// As the two words.
    #[inline(always)]
    pub const fn write(self) -> [u32; 2] {
        let outcome = Self::ANSWERED | (self.verdict as u32) << 8 | self.reason as u32;
        let route = match self.route {
            Some(route) => route,
            None => Self::NO_ROUTE,
        };
        [outcome, route]
    }

    /// From the two words, if they are an answer.
    pub fn read([outcome, route]: [u32; 2]) -> Option<Self> {
        if outcome & Self::ANSWERED == 0 {
            return None;
        }
        Some(Self {
            verdict: Verdict::from_number((outcome >> 8) as u8)?,
            reason: Reason::from_number(outcome as u8)?,
            route: (route != Self::NO_ROUTE).then_some(route),
        })
    }
}
