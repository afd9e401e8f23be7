//! A change, planned: its routes are taken in and out (`take`), what they concern is decided anew (`decide`), and what is to be
//! written comes of that (`write`), unless it is refused (`refuse`) or discarded (`undo`).

mod decide;
mod refuse;
mod take;
mod undo;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use redirector_common::entries::PortWord;

use super::{Change, Delta, Live, Slot, ports::Classes, space::Decisions};
use crate::routes::{Refusal, refusal::Budget};

/// A change that was planned: to be committed, or else it is discarded.
pub struct Plan<'a> {
    live: &'a mut Live,
    delta: Delta,
    /// Slots of routes that come.
    added: Vec<u32>,
    /// Routes that go, with the slots that they had.
    removed: Vec<(u32, Slot)>,
    /// Routes whose target changed, as they were.
    retargeted: Vec<(u32, Slot)>,
    /// By index of family and protocol, and port: destinations whose atoms changed.
    touched: BTreeMap<(usize, u16), BTreeSet<IpNet>>,
    /// Which have other ranges than before.
    ranges: [bool; 4],
    decisions: BTreeMap<(usize, u16), Decisions>,
    classes: [Option<Classes>; 4],
    /// Single ports whose prefixes are written from now on, or no more.
    written: Vec<((usize, u16), bool)>,
    /// Tables that nodes lead to, and led to.
    acquired: Vec<u32>,
    released: Vec<u32>,
    /// Numbers of new classes.
    numbers: Vec<u32>,
    /// Entries of `PREFIXES` afterwards.
    prefixes: usize,
    /// Whether what routes no longer lead to was released.
    targets_released: bool,
    committed: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(live: &'a mut Live, changes: &[Change]) -> Result<Self, Vec<Refusal>> {
        let prefixes = live.prefixes;
        let mut plan = Self {
            live,
            delta: Delta::default(),
            added: Vec::new(),
            removed: Vec::new(),
            retargeted: Vec::new(),
            touched: BTreeMap::new(),
            ranges: [false; 4],
            decisions: BTreeMap::new(),
            classes: [const { None }; 4],
            written: Vec::new(),
            acquired: Vec::new(),
            released: Vec::new(),
            numbers: Vec::new(),
            prefixes,
            targets_released: false,
            committed: false,
        };
        // What is returned is discarded on its way, if it is not the plan.
        plan.check(changes)?;
        let mut budget = Budget::default();
        plan.take(changes, &mut budget).map_err(|refusal| vec![refusal])?;
        let result = plan.decide(&mut budget);
        let mut refusals: Vec<Refusal> = plan.ties().into_iter().map(Refusal::Tie).collect();
        refusals.extend(result.err());
        refusals.extend(plan.over_limits());
        if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
    }

    /// What is to be written.
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// Lets the change be as it was written, and returns what was written.
    pub fn commit(mut self) -> Delta {
        self.committed = true;
        let live = &mut *self.live;
        for ((index, port), decisions) in &self.decisions {
            let Some(single) = live.ports[*index].singles.get_mut(port) else { continue };
            for (destination, entry) in decisions {
                single.space.set(destination, *entry);
            }
        }
        for ((index, port), written) in &self.written {
            if let Some(single) = live.ports[*index].singles.get_mut(port) {
                single.written = *written;
            }
        }
        for (index, port) in self.touched.keys() {
            live.ports[*index].forget_empty(*port);
        }
        for (ports, classes) in live.ports.iter_mut().zip(&mut self.classes) {
            if let Some(classes) = classes.take() {
                ports.classes = classes;
            }
        }
        for (index, word) in &self.delta.words {
            set_word(&mut live.words, *index, *word);
        }
        live.prefixes = self.prefixes;
        self.acquired.iter().for_each(|number| live.sources.acquire(*number));
        for number in &self.released {
            if live.sources.release(*number) {
                self.delta.unused.sources.extend(live.sources.prefixes(*number));
                self.delta.unused.tables.push(*number);
            }
        }
        self.delta.unused.tables.iter().for_each(|number| live.sources.forget(*number));
        std::mem::take(&mut self.delta)
    }

    /// What a route is called.
    pub(super) fn name(&self, slot: u32) -> String {
        self.live.slots.get(slot).map_or_else(String::new, |slot| slot.route.name.clone())
    }
}

/// Sets a word, of which those that say nothing are not kept.
pub(super) fn set_word(words: &mut BTreeMap<u32, PortWord>, index: u32, word: PortWord) {
    if word == PortWord::NONE {
        words.remove(&index);
    } else {
        words.insert(index, word);
    }
}
