//! The rules and routes that there are, whoever's they are.

use std::{fmt, io, net::IpAddr};

use anyhow::{Context, Result};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::{PROTOCOL, is_supported, netlink, remove};

/// A rule, or a route of ours or in a table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingEntry {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Whether it is ours, by its protocol.
    pub ours: bool,
    /// What a rule matches and does; `None` for a route.
    pub rule: Option<Rule>,
    /// The table that it leads to or stands in.
    pub table: u32,
    message: RouteNetlinkMessage,
}

/// What a rule matches and does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place: the lower is asked first.
    pub priority: u32,
    /// Mark and mask, where it asks for a mark.
    pub mark: Option<(u32, u32)>,
    /// Whether it means the packets that do not match.
    inverted: bool,
    /// Whether it ends the search for some packets, as one that merely jumps does not.
    decides: bool,
    /// The priority that it jumps to.
    pub goto: Option<u32>,
    /// What it says in the words of `ip rule`.
    text: String,
}

impl Rule {
    /// Whether it may decide where a packet with this mark goes. What else it asks for is not looked at.
    pub fn may_take(&self, packet: u32) -> bool {
        let matches = self.mark.is_none_or(|(value, mask)| packet & mask == value & mask);
        // Of an inverted rule any other condition that does not hold is enough.
        self.decides && if self.inverted && self.mark.is_some() { !matches } else { matches }
    }
}

/// The rules of others that are asked before this priority where a packet with this mark goes, and may say. The rule of the
/// table local, at 0, says only of addresses of this host.
///
/// # Errors
///
/// The kernel's.
pub fn rules_before(priority: u32, mark: u32) -> Result<Vec<RoutingEntry>> {
    let mut entries = Vec::new();
    for (family, name) in FAMILIES {
        if is_supported(family)? {
            entries.extend(rules(family, name)?);
        }
    }
    entries.retain(|entry| {
        let before = |rule: &Rule| (1..priority).contains(&rule.priority) && rule.may_take(mark);
        !entry.ours && entry.rule.as_ref().is_some_and(before)
    });
    Ok(entries)
}

const FAMILIES: [(AddressFamily, &str); 2] = [(AddressFamily::Inet, "IPv4"), (AddressFamily::Inet6, "IPv6")];

fn rules(family: AddressFamily, name: &'static str) -> Result<Vec<RoutingEntry>> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    let messages = netlink::dump(RouteNetlinkMessage::GetRule(request)).context("list rules")?;
    let rules = messages.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewRule(rule) => Some(from_rule(name, rule)),
        _ => None,
    });
    Ok(rules.collect())
}

/// All rules, all routes of ours, and the routes of others in these tables.
///
/// # Errors
///
/// The kernel's.
pub fn routing_entries(tables: &[u32]) -> Result<Vec<RoutingEntry>> {
    let mut entries = Vec::new();
    for (family, name) in FAMILIES {
        if !is_supported(family)? {
            continue;
        }
        entries.extend(rules(family, name)?);
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for message in netlink::dump(RouteNetlinkMessage::GetRoute(request)).context("list routes")? {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                entries.push(from_route(name, route));
            }
        }
    }
    entries.retain(|entry| entry.ours || entry.rule.is_some() || tables.contains(&entry.table));
    Ok(entries)
}

impl RoutingEntry {
    /// What a message says that adds a rule or a route.
    pub(super) fn read(message: RouteNetlinkMessage) -> Self {
        let family = |family| if family == AddressFamily::Inet { "IPv4" } else { "IPv6" };
        match message {
            RouteNetlinkMessage::NewRule(rule) => from_rule(family(rule.header.family), rule),
            RouteNetlinkMessage::NewRoute(route) => from_route(family(route.header.address_family), route),
            message => Self { family: "", ours: false, rule: None, table: 0, message },
        }
    }

    /// Removes it; one that is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn remove(&self) -> io::Result<()> {
        remove(match self.message.clone() {
            RouteNetlinkMessage::NewRule(mut rule) => {
                rule.header.flags = RuleFlags::empty();
                RouteNetlinkMessage::DelRule(rule)
            }
            RouteNetlinkMessage::NewRoute(mut route) => {
                route.attributes.retain(|attribute| {
                    matches!(
                        attribute,
                        RouteAttribute::Table(_)
                            | RouteAttribute::Oif(_)
                            | RouteAttribute::Destination(_)
                            | RouteAttribute::Priority(_)
                    )
                });
                RouteNetlinkMessage::DelRoute(route)
            }
            other => other,
        })
    }
}

/// As `ip rule` and `ip route` have it.
impl fmt::Display for RoutingEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "{} rule {}: {}", self.family, rule.priority, rule.text),
            None => write!(f, "{} route in table {}{}", self.family, self.table, self.route_text()),
        }
    }
}

impl RoutingEntry {
    fn route_text(&self) -> String {
        let RouteNetlinkMessage::NewRoute(route) = &self.message else { return String::new() };
        let kind = if route.header.kind == RouteType::Local { "local " } else { "" };
        let destination = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        });
        match destination {
            None => format!(": {kind}default"),
            Some(address) => format!(": {kind}{address}/{}", route.header.destination_prefix_length),
        }
    }
}

fn from_rule(family: &'static str, message: RuleMessage) -> RoutingEntry {
    let decides = !matches!(message.header.action, RuleAction::Goto | RuleAction::Nop);
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    let mut rule = Rule { priority: 0, mark: None, inverted, decides, goto: None, text: String::new() };
    let (mut mark, mut mask, mut iif) = (None, None, String::new());
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = Some(*value),
            RuleAttribute::Goto(priority) => rule.goto = Some(*priority),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Iifname(name) => iif = format!("iif {name} "),
            _ => {}
        }
    }
    // A mark of 0 is told by its mask alone (net/core/fib_rules.c, fib_nl_fill_rule).
    if mark.is_some() || mask.is_some() {
        rule.mark = Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
    }
    let not = if inverted { "not " } else { "" };
    let mark = rule.mark.map_or(String::new(), |(mark, mask)| format!("fwmark {mark:#x}/{mask:#x} "));
    let does = match (message.header.action, rule.goto) {
        (RuleAction::ToTable, _) => format!("lookup {table}"),
        (RuleAction::Goto, Some(priority)) => format!("goto {priority}"),
        (action, _) => format!("{action:?}").to_lowercase(),
    };
    rule.text = format!("{not}{mark}{iif}{does}");
    let ours = message.attributes.contains(&RuleAttribute::Protocol(PROTOCOL));
    RoutingEntry { family, ours, rule: Some(rule), table, message: RouteNetlinkMessage::NewRule(message) }
}

fn from_route(family: &'static str, message: RouteMessage) -> RoutingEntry {
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    RoutingEntry {
        family,
        ours: message.header.protocol == PROTOCOL,
        rule: None,
        table: table.unwrap_or_else(|| u32::from(message.header.table)),
        message: RouteNetlinkMessage::NewRoute(message),
    }
}
