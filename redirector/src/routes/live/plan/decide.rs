//! Decides anew what a change concerns.

use std::{collections::BTreeSet, rc::Rc};

use super::Plan;
use crate::routes::{
    Refusal,
    live::{
        Slot,
        ports::{Class, Classes, edit},
        space::{Atom, Space},
    },
    refusal::Budget,
    spaces::Claim,
};

impl Plan<'_> {
    /// Decides what the change concerns, and says what is to be written.
    pub(super) fn decide(&mut self, budget: &mut Budget) -> Result<(), Refusal> {
        for ((index, port), changed) in &self.touched {
            let live = &mut *self.live;
            let Some(single) = live.ports[*index].singles.get(port) else { continue };
            let decisions = single.space.decide(changed, &mut live.sources, budget)?;
            self.decisions.insert((*index, *port), decisions);
        }
        for index in (0..self.ranges.len()).filter(|index| self.ranges[*index]).collect::<Vec<_>>() {
            self.classify(index, budget)?;
        }
        self.write();
        Ok(())
    }

    /// Makes the range classes anew. One that has the same claims as before is the same.
    fn classify(&mut self, index: usize, budget: &mut Budget) -> Result<(), Refusal> {
        let parts = self.live.ports[index].parts(budget)?;
        let mut classes = Classes::default();
        for part in parts {
            let class = match classes.by_claims.get(&part.claims) {
                Some(class) => class.clone(),
                None => match self.live.ports[index].classes.by_claims.get(&part.claims) {
                    Some(class) => class.clone(),
                    None => Rc::new(self.class(index, &part.claims, budget)?),
                },
            };
            classes.by_claims.insert(part.claims, class.clone());
            classes.parts.push((part.ports, class));
        }
        self.classes[index] = Some(classes);
        Ok(())
    }

    fn class(&mut self, index: usize, claims: &[Claim], budget: &mut Budget) -> Result<Class, Refusal> {
        let live = &mut *self.live;
        let mut space = Space::default();
        let mut changed = BTreeSet::new();
        for Claim { slot, width } in claims {
            let Some(Slot { origin, route, .. }) = live.slots.get(*slot) else { continue };
            let atom = |source, width| Atom { source, width, origin: *origin, slot: *slot };
            let atoms = live.ports[index].atoms(route, *width, atom);
            budget.spend(atoms.len())?;
            changed.extend(edit(&mut space, route, &atoms, true));
        }
        let decisions = space.decide(&changed, &mut live.sources, budget)?;
        for (destination, entry) in &decisions {
            space.set(destination, *entry);
        }
        let number = live.classes.take();
        self.numbers.push(number);
        Ok(Class { number, space })
    }
}
