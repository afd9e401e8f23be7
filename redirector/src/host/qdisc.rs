//! The clsact qdisc of an interface, which filters on kernels without TCX hang on.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::LinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use super::netlink;

/// Adds a clsact qdisc; `false` where one was there.
///
/// # Errors
///
/// The kernel's.
pub fn add_clsact(ifindex: u32) -> Result<bool> {
    let mut message = clsact(ifindex);
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    match netlink::create(RouteNetlinkMessage::NewQueueDiscipline(message)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).context("add a clsact qdisc"),
    }
}

/// Removes the clsact qdisc unless somebody's filter hangs on it.
///
/// # Errors
///
/// The kernel's.
pub fn remove_unused_clsact(ifindex: u32) -> Result<()> {
    for parent in [INGRESS_PARENT, EGRESS_PARENT] {
        let mut message = clsact(ifindex);
        message.header.parent = parent;
        let filters =
            netlink::dump(RouteNetlinkMessage::GetTrafficFilter(message)).context("list filters")?;
        if !filters.is_empty() {
            return Ok(());
        }
    }
    netlink::change(RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex)))
        .context("remove the clsact qdisc")
}

/// The handle of our filters, by which a later agent knows what an earlier one left when it was killed. Handles are
/// numbered within a priority, and we always get a priority of our own: nobody else's is taken.
pub const HANDLE: TcHandle = TcHandle { major: 0, minor: 82 };

/// Adds an ingress filter of ours. The kernel picks the priority where it is 0.
///
/// # Errors
///
/// The kernel's.
pub fn add_filter(ifindex: u32, priority: u16, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut message = clsact(ifindex);
    message.header.handle = HANDLE;
    message.header.parent = INGRESS_PARENT;
    message.header.info = u32::from(priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    message.attributes.push(TcAttribute::Options(options.map(TcOption::Bpf).into()));
    netlink::create(RouteNetlinkMessage::NewTrafficFilter(message))
}

/// Removes our ingress filters; whether there were any.
///
/// # Errors
///
/// The kernel's.
pub fn remove_our_filters(ifindex: u32) -> Result<bool> {
    let mut removed = false;
    for filter in ingress_filters(ifindex)? {
        if filter.header.handle != HANDLE || !runs_tc_ingress(&filter) {
            continue;
        }
        let mut request = TcMessage::default();
        request.header = filter.header;
        request.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        netlink::change(RouteNetlinkMessage::DelTrafficFilter(request)).context("remove a filter of ours")?;
        removed = true;
    }
    Ok(removed)
}

/// The priority of the ingress filter that sees packets first.
///
/// # Errors
///
/// The kernel's.
pub fn lowest_priority(ifindex: u32) -> Result<Option<u16>> {
    Ok(ingress_filters(ifindex)?.iter().map(priority).min())
}

fn ingress_filters(ifindex: u32) -> Result<Vec<TcMessage>> {
    let mut request = clsact(ifindex);
    request.header.parent = INGRESS_PARENT;
    let filters = netlink::dump(RouteNetlinkMessage::GetTrafficFilter(request)).context("list filters")?;
    let filters = filters.into_iter().filter_map(|filter| match filter {
        RouteNetlinkMessage::NewTrafficFilter(filter) => Some(filter),
        _ => None,
    });
    Ok(filters.collect())
}

fn priority(filter: &TcMessage) -> u16 {
    (filter.header.info >> 16) as u16
}

fn runs_tc_ingress(filter: &TcMessage) -> bool {
    let options = filter.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().any(
        |option| matches!(option, TcOption::Bpf(TcFilterBpfOption::ProgName(name)) if name.starts_with("tc_ingress")),
    )
}

/// Whether there is no interface of this number any more; what hung on it is gone with it.
///
/// # Errors
///
/// The kernel's.
pub fn interface_is_gone(ifindex: u32) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    match netlink::change(RouteNetlinkMessage::GetLink(message)) {
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(true),
        Err(error) => Err(error).context("look for the interface"),
    }
}

/// TC_H_MIN_INGRESS and TC_H_MIN_EGRESS (include/uapi/linux/pkt_sched.h).
pub(super) const INGRESS_PARENT: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: 0xfff2 };
pub(super) const EGRESS_PARENT: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: 0xfff3 };

pub(super) fn clsact(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex as i32);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message
}
