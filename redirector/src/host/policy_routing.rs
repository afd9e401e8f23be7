//! Local delivery of marked packets, whatever their destination.
//!
//! Three rules and a route for each family:
//!
//! ```text
//! P:    fwmark M/M iif lo goto P+2
//! P+1:  fwmark M/M lookup T
//! P+2:  nop
//! table T: local default dev lo
//! ```
//!
//! The first keeps reverse-path look-ups and our own answers, which carry the mark too where `src_valid_mark`,
//! `tcp_fwmark_accept` or `fwmark_reflect` is set, out of T: there every address is local, and a packet *from* a
//! local address is a martian. No sysctl is read or written.

mod found;
mod numbers;

use std::io;

use anyhow::{Context, Result};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::netlink;
pub use found::{RoutingEntry, routing_entries, rules_before};
pub use numbers::{Movable, choose};

/// The numbers by which the rules and the route are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRoutingSettings {
    /// One bit: value and mask.
    pub mark: u32,
    /// The routing table.
    pub table: u32,
    /// Priority of the first rule; the next two follow it.
    pub priority: u32,
}

impl Default for PolicyRoutingSettings {
    fn default() -> Self {
        Self { mark: 0x2000, table: 8200, priority: 90 }
    }
}

/// By what routes and rules of ours are known in the kernel: no daemon in iproute2's rt_protos has this number.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(82);

/// The rules and routes. Dropping it removes them.
pub struct PolicyRouting {
    settings: PolicyRoutingSettings,
    families: Vec<AddressFamily>,
    /// Rules of others before ours, as far as they were told.
    told: Vec<String>,
}

impl PolicyRouting {
    /// Adds the rules and routes, taking over what an agent that was killed has left.
    ///
    /// # Errors
    ///
    /// The kernel refused. What was added is removed again.
    pub fn install(settings: PolicyRoutingSettings) -> Result<Self> {
        let mut installed = Self { settings, families: Vec::new(), told: Vec::new() };
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            if !is_supported(family)? {
                continue;
            }
            installed.families.push(family);
            for message in settings.messages(family) {
                create(message).context("add the rules on the mark, and their route")?;
            }
        }
        Ok(installed)
    }

    /// Removes what an earlier agent left that had other numbers.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn tidy(&self) -> Result<()> {
        let wanted: Vec<String> = self
            .families
            .iter()
            .flat_map(|family| self.settings.messages(*family))
            .map(|message| RoutingEntry::read(message).to_string())
            .collect();
        for entry in routing_entries(&[])?.into_iter().filter(|entry| entry.ours) {
            if !wanted.contains(&entry.to_string()) {
                tracing::debug!(%entry, "remove what an earlier agent left");
                entry.remove().with_context(|| format!("remove {entry}"))?;
            }
        }
        Ok(())
    }

    /// Adds again what somebody has removed, and says what it was.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn repair(&self) -> Result<Vec<String>> {
        let mut repaired = Vec::new();
        for family in &self.families {
            for message in self.settings.messages(*family) {
                // Where an equal one is there, the kernel refuses another.
                match netlink::create(message.clone()) {
                    Ok(()) => repaired.push(RoutingEntry::read(message).to_string()),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error).context("add a rule or route that was removed"),
                }
            }
        }
        Ok(repaired)
    }

    /// Puts the rules before those of others that came before them, if their priority may be another; or says once that
    /// these are in the way.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn come_first(&mut self, movable: Movable) -> Result<Option<Order>> {
        let PolicyRoutingSettings { mark, priority, .. } = self.settings;
        let others = rules_before(priority, mark)?;
        let names: Vec<String> = others.iter().map(ToString::to_string).collect();
        let all = names.join("; ");
        if names.iter().all(|name| self.told.contains(name)) {
            self.told.retain(|name| names.contains(name));
            return Ok(None);
        }
        let lowest = others.iter().filter_map(|entry| entry.rule.as_ref()).map(|rule| rule.priority).min();
        let room = lowest.and_then(|lowest| lowest.checked_sub(3)).filter(|first| *first > 0);
        let (Some(first), true) = (room, movable.rule_priority) else {
            self.told = names;
            return Ok(Some(Order::Behind(all)));
        };
        let moved = PolicyRoutingSettings { priority: first, ..self.settings };
        for family in &self.families {
            for rule in moved.rules(*family).into_iter().rev() {
                create(RouteNetlinkMessage::NewRule(rule)).context("add the rules before those of others")?;
            }
        }
        self.settings = moved;
        self.tidy()?;
        Ok(Some(Order::Moved { first, others: all }))
    }

    fn remove(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for family in std::mem::take(&mut self.families) {
            for rule in self.settings.rules(family) {
                result = result.and(remove(RouteNetlinkMessage::DelRule(rule)));
            }
            result = result.and(remove(RouteNetlinkMessage::DelRoute(self.settings.route(family))));
        }
        result
    }
}

/// What becomes of rules of others that came before ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ours have this priority, and the next two, now: before them.
    Moved {
        /// The new priority.
        first: u32,
        /// Theirs.
        others: String,
    },
    /// They stay before ours.
    Behind(String),
}

impl Drop for PolicyRouting {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::error!("remove the rules on the mark: {error}");
        }
    }
}

impl PolicyRoutingSettings {
    /// What is added, in this order. The route first: a rule that leads into an empty table is passed over, so that nothing is
    /// half steered. Then the last rule, which the first leads to.
    fn messages(&self, family: AddressFamily) -> impl Iterator<Item = RouteNetlinkMessage> {
        let rules = self.rules(family).into_iter().rev().map(RouteNetlinkMessage::NewRule);
        [RouteNetlinkMessage::NewRoute(self.route(family))].into_iter().chain(rules)
    }

    /// The three rules, in the order of their priorities.
    fn rules(&self, family: AddressFamily) -> [RuleMessage; 3] {
        let Self { mark, table, priority } = *self;
        let on_mark = [RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mark)];
        let rule = |offset: u32, action, attributes: Vec<RuleAttribute>| {
            let mut rule = RuleMessage::default();
            rule.header.family = family;
            rule.header.action = action;
            rule.attributes = attributes;
            rule.attributes
                .extend([RuleAttribute::Priority(priority + offset), RuleAttribute::Protocol(PROTOCOL)]);
            rule
        };
        let skip = [RuleAttribute::Iifname("lo".to_owned()), RuleAttribute::Goto(priority + 2)];
        [
            rule(0, RuleAction::Goto, [&on_mark[..], &skip].concat()),
            rule(1, RuleAction::ToTable, [&on_mark[..], &[RuleAttribute::Table(table)]].concat()),
            rule(2, RuleAction::Nop, Vec::new()),
        ]
    }

    /// `local default dev lo` in the table.
    fn route(&self, family: AddressFamily) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        route.header.protocol = PROTOCOL;
        route.header.scope =
            if family == AddressFamily::Inet { RouteScope::Host } else { RouteScope::Universe };
        route.header.kind = RouteType::Local;
        route.attributes = vec![RouteAttribute::Table(self.table), RouteAttribute::Oif(LOOPBACK)];
        route
    }
}

/// Number of the loopback device (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// Whether the host speaks the family: IPv6 may be off.
fn is_supported(family: AddressFamily) -> Result<bool> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    match netlink::dump(RouteNetlinkMessage::GetRule(request)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
            Ok(false)
        }
        Err(error) => Err(error).context("list rules"),
    }
}

fn create(message: RouteNetlinkMessage) -> io::Result<()> {
    match netlink::create(message) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn remove(message: RouteNetlinkMessage) -> io::Result<()> {
    match netlink::change(message) {
        // Gone already: by somebody else's hand.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(()),
        result => result,
    }
}
