//! Runs packets, and compares what they cause with what the reference expects.

use std::{collections::BTreeMap, fmt};

use redirector_common::{
    Reason, Verdict,
    entries::{Handoff, HandoffState},
};

use crate::{
    case::hex,
    reference::{self, Counted, Expected, Packet},
    stage::{Found, Stage, Totals, handoff},
};

/// How many packets were tried.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub run: u64,
    /// The kernel takes no such packet for a test run.
    pub refused: u64,
    pub outcomes: BTreeMap<(Reason, Verdict), u64>,
}

/// A packet that did not cause what was expected.
#[derive(Debug)]
pub struct Difference {
    /// Which of the packets it is; none where only the counters of all of them together differ.
    pub index: Option<usize>,
    pub text: String,
}

impl Tally {
    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.run += other.run;
        self.refused += other.refused;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
    }
}

/// Runs packets one after the other. All that each returns is compared at once; what is counted, and handed over although it
/// should not be, when all are done, for that takes system calls.
///
/// # Errors
///
/// The first difference.
pub fn together(stage: &mut Stage, packets: &[Packet]) -> Result<Tally, Difference> {
    let before = stage.totals();
    let mut last = stage.handed_over();
    let (mut counted, mut tally) = (Totals::default(), Tally::default());
    stage.forget();
    for (index, packet) in packets.iter().enumerate() {
        let Some(found) = stage.run(packet) else {
            tally.refused += 1;
            continue;
        };
        let expected = stage.expect(packet);
        tally.run += 1;
        *tally.outcomes.entry((expected.reason, expected.verdict)).or_default() += 1;
        count(&mut counted, packet, &expected);
        if let Some(text) = difference(&expected, &found) {
            return Err(Difference { index: Some(index), text });
        }
        // What a first fragment had handed over is withdrawn where it passes, which nothing else tells.
        if expected.handed_over.is_none() && expected.reason != Reason::Fragment {
            continue;
        }
        let found = stage.handed_over();
        let is_right = match &expected.handed_over {
            Some(handed) => handoff(handed) == found,
            None => is_left(&last, &found),
        };
        if !is_right {
            return Err(Difference { index: Some(index), text: format!("{expected}\n  HANDOFF {found:x?}") });
        }
        last = found;
    }
    let now = stage.handed_over();
    if !is_left(&last, &now) {
        return Err(Difference {
            index: None,
            text: format!("handed over\n  last  {last:x?}\n  found {now:x?}"),
        });
    }
    let found = stage.totals().since(&before);
    if found != counted {
        return Err(Difference {
            index: None,
            text: format!("to be counted {counted:?}\n  counted       {found:?}"),
        });
    }
    Ok(tally)
}

/// Runs packets one after the other, and everything is compared after each.
///
/// # Errors
///
/// The first difference.
pub fn one_by_one(stage: &mut Stage, packets: &[Packet]) -> Result<(), Difference> {
    stage.forget();
    for (index, packet) in packets.iter().enumerate() {
        let (before, last) = (stage.totals(), stage.handed_over());
        let Some(found) = stage.run(packet) else { continue };
        let expected = stage.expect(packet);
        let mut counted = Totals::default();
        count(&mut counted, packet, &expected);
        let now = stage.handed_over();
        let handed = match &expected.handed_over {
            Some(handed) => handoff(handed) == now,
            None => is_left(&last, &now),
        };
        let totals = stage.totals().since(&before);
        let wrong = difference(&expected, &found);
        if wrong.is_none() && handed && totals == counted {
            continue;
        }
        let text = wrong.unwrap_or_else(|| format!("expected {expected}"));
        let text = format!("{text}\n  counted {totals:?}\n  HANDOFF {now:x?}");
        return Err(Difference { index: Some(index), text });
    }
    Ok(())
}

/// Whether nothing was handed over since, or what was is withdrawn.
fn is_left(last: &Handoff, now: &Handoff) -> bool {
    now == last || now.state == HandoffState::Empty as u32
}

fn count(totals: &mut Totals, packet: &Packet, expected: &Expected) {
    let count = totals.reasons.entry((expected.verdict, expected.reason)).or_default();
    count.0 += 1;
    count.1 += packet.bytes.len() as u64;
    if let Some((slot, counted)) = expected.counted {
        let count = totals.routes.entry(slot).or_default();
        match counted {
            Counted::Connection => count.0 += 1,
            Counted::Unavailable => count.1 += 1,
        }
    }
}

fn difference(expected: &Expected, found: &Found) -> Option<String> {
    let same = expected.returned == found.returned
        && expected.mark == found.mark
        && expected.bytes == found.bytes
        && !found.context_changed;
    (!same).then(|| format!("expected {expected}\n  found    {found}"))
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, verdict, counted, returned, bytes, mark, handed_over } = self;
        write!(f, "{verdict:?} for {reason:?}, counted by {counted:?}, handed over {handed_over:?}: ")?;
        write!(f, "returned {returned}, mark {mark:#x}, {}", hex(bytes))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { returned, bytes, mark, context_changed } = self;
        let context = if *context_changed { ", more of the context changed" } else { "" };
        write!(f, "returned {returned}, mark {mark:#x}{context}, {}", hex(bytes))
    }
}

impl Stage {
    /// What the reference expects of the next packet.
    fn expect(&mut self, packet: &Packet) -> Expected {
        reference::expect(&self.host, &mut self.memory, packet)
    }
}
