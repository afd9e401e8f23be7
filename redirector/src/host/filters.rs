//! The filters on an interface's clsact qdisc, whoever's they are.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
};

use super::{
    netlink,
    qdisc::{EGRESS_PARENT, INGRESS_PARENT, clsact},
};

/// Which packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What it receives.
    Ingress,
    /// What it sends.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The kernel's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its program's name, or what kind of filter it is.
    pub name: String,
    /// The id of its program, if it has one.
    pub program: Option<u32>,
    /// Its priority: the lower sees packets first.
    pub priority: u16,
    header: TcHeader,
}

impl Filter {
    /// Removes it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn remove(&self) -> io::Result<()> {
        let mut request = TcMessage::default();
        request.header = self.header.clone();
        request.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        netlink::change(RouteNetlinkMessage::DelTrafficFilter(request))
    }
}

/// The filters of an interface, the one that sees packets first before the others.
///
/// # Errors
///
/// The kernel's.
pub fn filters(ifindex: u32, direction: Direction) -> Result<Vec<Filter>> {
    let mut request = clsact(ifindex);
    request.header.parent = match direction {
        Direction::Ingress => INGRESS_PARENT,
        Direction::Egress => EGRESS_PARENT,
    };
    let mut filters = Vec::<Filter>::new();
    for message in netlink::dump(RouteNetlinkMessage::GetTrafficFilter(request)).context("list filters")? {
        let RouteNetlinkMessage::NewTrafficFilter(message) = message else { continue };
        let filter = read(&message);
        // Of each priority there is a message without a handle for the whole, and kinds other than BPF have tables.
        let is_whole = filter.header.handle == TcHandle::default();
        let is_seen = filters.iter().any(|seen| seen.priority == filter.priority && seen.program.is_none());
        if filter.program.is_some() || !is_whole && !is_seen {
            filters.push(filter);
        }
    }
    filters.sort_by_key(|filter| filter.priority);
    Ok(filters)
}

fn read(message: &TcMessage) -> Filter {
    let mut kind = "";
    let (mut name, mut program) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(text) => kind = text,
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgName(text)) => name = Some(text.clone()),
                        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => program = Some(*id),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Filter {
        name: name.unwrap_or_else(|| format!("{kind} filter")),
        program,
        priority: (message.header.info >> 16) as u16,
        header: message.header.clone(),
    }
}
