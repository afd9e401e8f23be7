//! What came of each interface that the settings name, and of how many.

use std::collections::BTreeMap;

use crate::metrics::InterfaceState;

/// Kept as interfaces change, so that to count them costs nothing.
#[derive(Default)]
pub struct States {
    by_index: BTreeMap<u32, InterfaceState>,
    counts: [usize; InterfaceState::ALL.len()],
}

impl States {
    /// The state of an interface; `None` where the settings do not name it, or it is gone.
    pub fn set(&mut self, index: u32, state: Option<InterfaceState>) {
        let old = match state {
            Some(state) => self.by_index.insert(index, state),
            None => self.by_index.remove(&index),
        };
        if let Some(old) = old {
            self.counts[old as usize] -= 1;
        }
        if let Some(state) = state {
            self.counts[state as usize] += 1;
        }
    }

    /// How many interfaces are in each state.
    pub fn count(&self) -> [(InterfaceState, usize); InterfaceState::ALL.len()] {
        InterfaceState::ALL.map(|state| (state, self.counts[state as usize]))
    }
}
