//! Which mark, table and priorities are used: those that were asked for, or others where these are taken.

use anyhow::anyhow;

use super::{PolicyRoutingSettings, RoutingEntry, routing_entries};
use crate::{
    failure::{Exit, Failure},
    host::netfilter,
};

/// Which numbers of the rules may be others, where these are taken, rather than be refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Movable {
    /// The mark.
    pub mark: bool,
    /// The routing table.
    pub table: bool,
    /// The priority of the first rule.
    pub rule_priority: bool,
}

/// Bits that none of the usual neighbours has (docs/coexistence.md), the better ones first.
const MARKS: [u32; 6] = [0x2000, 0x1000, 0x80, 0x40, 0x4, 0x2];
/// Tables to move to.
const TABLES: std::ops::RangeInclusive<u32> = 8200..=8299;
/// Priorities to move to: before other rules, which lead elsewhere, and behind the one of local addresses, at 0.
const LAST_PRIORITY: u32 = 90;

/// The numbers to use, and what is to be told of those that are not the ones asked for.
///
/// # Errors
///
/// One is taken and may not be another, or all are taken; by whom is said.
pub fn choose(
    wanted: PolicyRoutingSettings,
    movable: Movable,
) -> Result<(PolicyRoutingSettings, Vec<String>), Failure> {
    let tables: Vec<u32> = TABLES.chain([wanted.table]).collect();
    let entries = routing_entries(&tables)?;
    let others: Vec<RoutingEntry> = entries.into_iter().filter(|entry| !entry.ours).collect();
    let by = |takes: &dyn Fn(&RoutingEntry) -> bool| {
        others.iter().find(|entry| takes(entry)).map(ToString::to_string)
    };
    let mut moved = Vec::new();
    let mark = Number { name: "mark", wanted: wanted.mark, movable: movable.mark };
    let table = Number { name: "table", wanted: wanted.table, movable: movable.table };
    let priority = Number { name: "rule_priority", wanted: wanted.priority, movable: movable.rule_priority };
    let mark = mark.pick(MARKS, &mut moved, |mark| {
        // Filters that read or set the bit may be meant for us: only who may choose avoids them.
        by(&|entry| entry.uses_mark(mark)).or_else(|| movable.mark.then(|| filters_on(mark))?)
    })?;
    let table = table.pick(TABLES, &mut moved, |table| by(&|entry| entry.table == table))?;
    let priority = priority.pick((1..=LAST_PRIORITY).rev(), &mut moved, |first| {
        by(&|entry| {
            entry.rule.as_ref().is_some_and(|rule| {
                (first..=first + 2).contains(&rule.priority)
                    || movable.rule_priority && (1..first).contains(&rule.priority) && rule.may_take(mark)
            })
        })
    })?;
    Ok((PolicyRoutingSettings { mark, table, priority }, moved))
}

/// The chains whose rules use bits of a mark.
fn filters_on(mark: u32) -> Option<String> {
    let users = netfilter::mark_users(mark).ok()?;
    (!users.is_empty()).then(|| users.join(", "))
}

/// A number that is asked for.
struct Number {
    name: &'static str,
    wanted: u32,
    movable: bool,
}

impl Number {
    /// The number itself, or else the first candidate that is not taken.
    fn pick(
        &self,
        candidates: impl IntoIterator<Item = u32>,
        moved: &mut Vec<String>,
        taken: impl Fn(u32) -> Option<String>,
    ) -> Result<u32, Failure> {
        let Some(whose) = taken(self.wanted) else { return Ok(self.wanted) };
        let what = format!("{} {} is taken: {whose}", self.name, self.shown(self.wanted));
        let free = candidates.into_iter().filter(|_| self.movable).find(|number| taken(*number).is_none());
        let Some(free) = free else {
            let hint = format!(
                "set `{}` to one that is free, or to \"auto\" to have one chosen; \
                 `redirector check` shows all that is in the way",
                self.name
            );
            return Err(Failure::new(Exit::No, anyhow!(what)).hint(hint));
        };
        moved.push(format!("{what}; {} is used", self.shown(free)));
        Ok(free)
    }

    fn shown(&self, number: u32) -> String {
        if self.name == "mark" { format!("{number:#x}") } else { number.to_string() }
    }
}

impl RoutingEntry {
    /// Whether packets with this mark are meant by a rule.
    pub(crate) fn uses_mark(&self, mark: u32) -> bool {
        self.rule.as_ref().and_then(|rule| rule.mark).is_some_and(|(value, mask)| value & mask & mark != 0)
    }
}
