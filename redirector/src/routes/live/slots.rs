//! The routes by slot, and what they lead to, each thing once.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use redirector_common::entries::RouteEntry;

use super::numbers::Numbers;
use crate::routes::{Origin, Route};

/// A route that has a slot.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Who gave it.
    pub origin: Origin,
    /// The route.
    pub route: Arc<Route>,
    /// What stands in `ROUTES`.
    pub entry: RouteEntry,
}

/// The routes by slot and by name.
#[derive(Debug, Default)]
pub(super) struct Slots {
    numbers: Numbers,
    slots: Vec<Option<Slot>>,
    names: HashMap<Origin, HashMap<Named, u32>>,
    count: usize,
}

/// A route as the key of its name, which it has already.
#[derive(Debug)]
struct Named(Arc<Route>);

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl Slots {
    pub fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn named(&self, origin: Origin, name: &str) -> Option<u32> {
        self.names.get(&origin)?.get(name).copied()
    }

    /// The names and slots of an origin's routes.
    pub fn of(&self, origin: Origin) -> impl Iterator<Item = (&String, u32)> {
        self.names.get(&origin).into_iter().flatten().map(|(named, slot)| (&named.0.name, *slot))
    }

    /// How many routes an origin has.
    pub fn count(&self, origin: Origin) -> usize {
        self.names.get(&origin).map_or(0, HashMap::len)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots).filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// How many more routes fit now, before any slot is given back.
    pub fn room(&self, limit: u32) -> usize {
        self.numbers.room(limit)
    }

    /// The lowest number that no slot has reached.
    pub fn end(&self) -> u32 {
        self.numbers.end()
    }

    pub fn add(&mut self, slot: Slot) -> u32 {
        let number = self.numbers.take();
        self.restore(number, slot);
        number
    }

    /// Takes a route out. Its number is not another's until it is given back.
    pub fn remove(&mut self, number: u32) -> Option<Slot> {
        let slot = self.slots.get_mut(number as usize)?.take()?;
        if let Some(names) = self.names.get_mut(&slot.origin) {
            names.remove(slot.route.name.as_str());
        }
        self.count -= 1;
        Some(slot)
    }

    /// Puts a route where it was.
    pub fn restore(&mut self, number: u32, slot: Slot) {
        let index = number as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        self.names.entry(slot.origin).or_default().insert(Named(slot.route.clone()), number);
        self.slots[index] = Some(slot);
        self.count += 1;
    }

    /// Lets a slot have another route of the same name and match.
    pub fn replace(&mut self, number: u32, slot: Slot) -> Option<Slot> {
        let old = self.remove(number)?;
        self.restore(number, slot);
        Some(old)
    }

    pub fn give_back(&mut self, number: u32) {
        self.numbers.give_back(number);
    }
}

/// Things that routes lead to, each with a number and as often as routes do.
#[derive(Debug)]
pub(super) struct Shared<T> {
    numbers: Numbers,
    users: HashMap<T, (u32, u32)>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { numbers: Numbers::default(), users: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Shared<T> {
    /// The number of a thing that another route leads to, and whether that is the first.
    pub fn acquire(&mut self, thing: &T) -> (u32, bool) {
        if let Some((number, users)) = self.users.get_mut(thing) {
            *users += 1;
            return (*number, false);
        }
        let number = self.numbers.take();
        self.users.insert(thing.clone(), (number, 1));
        (number, true)
    }

    /// A route less leads there. The number, if that was the last: it is not another's until it is given back.
    pub fn release(&mut self, thing: &T) -> Option<u32> {
        let (number, users) = self.users.get_mut(thing)?;
        *users -= 1;
        let number = *number;
        (*users == 0).then(|| {
            self.users.remove(thing);
            number
        })
    }

    /// Takes back that the last route to a thing was gone.
    pub fn restore(&mut self, thing: &T, number: u32) {
        self.users.entry(thing.clone()).or_insert((number, 0)).1 += 1;
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether those of these things that are new fit now, before any number is given back.
    pub fn has_room_for(&self, things: impl Iterator<Item = T>, limit: u32) -> bool {
        let new: HashSet<T> = things.filter(|thing| !self.users.contains_key(thing)).collect();
        new.len() <= self.numbers.room(limit)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&T, u32)> {
        self.users.iter().map(|(thing, (number, _))| (thing, *number))
    }

    pub fn give_back(&mut self, number: u32) {
        self.numbers.give_back(number);
    }
}
