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

use std::io;

use anyhow::{Context, Result, bail};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::netlink;
pub use found::{RoutingEntry, routing_entries};

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
        Self { mark: 0x2000, table: 8200, priority: 98 }
    }
}

/// By what routes and rules of ours are known in the kernel: no daemon in iproute2's rt_protos has this number.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(82);

/// The rules and routes. Dropping it removes them.
pub struct PolicyRouting {
    settings: PolicyRoutingSettings,
    families: Vec<AddressFamily>,
}

impl PolicyRouting {
    /// Adds the rules and routes, taking over what an agent that was killed has left.
    ///
    /// # Errors
    ///
    /// Somebody else's rule has one of the priorities, or somebody's route stands in the table, or the kernel refused. What was added is
    /// removed again.
    pub fn install(settings: PolicyRoutingSettings) -> Result<Self> {
        let mut installed = Self { settings, families: Vec::new() };
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            if !is_supported(family)? {
                continue;
            }
            installed.refuse_conflicts(family)?;
            // The route first: a rule that leads into an empty table is passed over, so nothing is half steered.
            installed.families.push(family);
            create(RouteNetlinkMessage::NewRoute(settings.route(family)))
                .context("add the route to table T")?;
            for rule in settings.rules(family).into_iter().rev() {
                create(RouteNetlinkMessage::NewRule(rule)).context("add a rule on the mark")?;
            }
        }
        Ok(installed)
    }

    fn refuse_conflicts(&self, family: AddressFamily) -> Result<()> {
        let PolicyRoutingSettings { priority, table, .. } = self.settings;
        let mut request = RuleMessage::default();
        request.header.family = family;
        for message in netlink::dump(RouteNetlinkMessage::GetRule(request)).context("list rules")? {
            let RouteNetlinkMessage::NewRule(rule) = message else { continue };
            let at = rule.attributes.iter().find_map(|attribute| match attribute {
                RuleAttribute::Priority(priority) => Some(*priority),
                _ => None,
            });
            let Some(at) = at.filter(|at| (priority..=priority + 2).contains(at)) else { continue };
            if !rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL)) {
                bail!("ip rule priority {at} is taken by another rule (see `ip rule`)");
            }
        }
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for message in netlink::dump(RouteNetlinkMessage::GetRoute(request)).context("list routes")? {
            let RouteNetlinkMessage::NewRoute(route) = message else { continue };
            if route.attributes.contains(&RouteAttribute::Table(table)) && route.header.protocol != PROTOCOL {
                bail!("routing table {table} is used by another route (see `ip route show table {table}`)");
            }
        }
        Ok(())
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

impl Drop for PolicyRouting {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("redirector: remove the rules on the mark: {error}");
        }
    }
}

impl PolicyRoutingSettings {
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
