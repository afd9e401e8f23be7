//! The tables in `SOURCES`, each of which is never edited once it is published. Equal ones are shared.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use redirector_common::{Address, Family, entries::PrefixEntry};

use super::numbers::Numbers;
use crate::routes::{Prefix, Refusal};

/// What some sources get, in ascending order: so a prefix stands before those that it contains.
pub(super) type Sources = Vec<(IpNet, PrefixEntry)>;

/// The tables by what is in them.
pub(super) struct SourceTables {
    numbers: Numbers,
    by_sources: HashMap<Sources, u32>,
    tables: HashMap<u32, Table>,
    /// Entries of all tables together.
    entries: usize,
    limit: u32,
}

struct Table {
    sources: Sources,
    /// How many nodes lead here.
    users: u32,
}

impl SourceTables {
    pub fn new(limit: u32) -> Self {
        let (by_sources, tables) = (HashMap::new(), HashMap::new());
        Self { numbers: Numbers::default(), by_sources, tables, entries: 0, limit }
    }

    /// The number of the table with these sources, which is made if there is none, without a user yet.
    pub fn number(&mut self, sources: &Sources) -> Result<u32, Refusal> {
        if let Some(number) = self.by_sources.get(sources) {
            return Ok(*number);
        }
        // Refused before they are made: tables can be many times what the routes name.
        if let Some(refusal) = Refusal::limit("sources", self.entries + sources.len(), self.limit) {
            return Err(refusal);
        }
        let number = self.numbers.take();
        self.entries += sources.len();
        self.by_sources.insert(sources.clone(), number);
        self.tables.insert(number, Table { sources: sources.clone(), users: 0 });
        Ok(number)
    }

    /// Whether no node leads to the table yet, so that it is not in the map either.
    pub fn is_new(&self, number: u32) -> bool {
        self.tables.get(&number).is_some_and(|table| table.users == 0)
    }

    /// The entries of a table.
    pub fn prefixes(&self, number: u32) -> impl Iterator<Item = Prefix> {
        let sources = self.tables.get(&number).map(|table| &table.sources[..]).unwrap_or_default();
        sources.iter().map(move |(source, entry)| Prefix::new(number, source, *entry))
    }

    /// What the longest prefix of a source in a table gets.
    pub fn longest(&self, number: u32, source: &Address) -> Option<PrefixEntry> {
        let sources = &self.tables.get(&number)?.sources;
        // Longer prefixes stand behind those that contain them.
        let mut containing = sources.iter().rev().filter(|(prefix, _)| match prefix {
            IpNet::V4(v4) => matches!(source.ip(Family::V4), IpAddr::V4(source) if v4.contains(&source)),
            IpNet::V6(v6) => matches!(source.ip(Family::V6), IpAddr::V6(source) if v6.contains(&source)),
        });
        containing.next().map(|(_, entry)| *entry)
    }

    /// Another node leads to the table.
    pub fn acquire(&mut self, number: u32) {
        if let Some(table) = self.tables.get_mut(&number) {
            table.users += 1;
        }
    }

    /// A node less does. Whether it was the last: the table is then to be removed from the map, and its number
    /// given back when that is done.
    pub fn release(&mut self, number: u32) -> bool {
        let Some(table) = self.tables.get_mut(&number) else { return false };
        table.users = table.users.saturating_sub(1);
        table.users == 0
    }

    /// Forgets a table without users. Its number is not given to another yet.
    pub fn forget(&mut self, number: u32) {
        if let Some(table) = self.tables.remove(&number) {
            self.entries -= table.sources.len();
            self.by_sources.remove(&table.sources);
        }
    }

    /// Forgets the tables that were made for nothing.
    pub fn forget_unused(&mut self) {
        let unused: Vec<u32> =
            self.tables.iter().filter(|(_, table)| table.users == 0).map(|(number, _)| *number).collect();
        for number in unused {
            self.forget(number);
            self.give_back(number);
        }
    }

    /// The number of a table that is gone from the map may be another's.
    pub fn give_back(&mut self, number: u32) {
        self.numbers.give_back(number);
    }

    /// Entries of all tables together.
    pub fn entries(&self) -> usize {
        self.entries
    }
}
