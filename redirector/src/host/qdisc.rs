//! The clsact qdisc of an interface, which filters on kernels without TCX hang on.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::LinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
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
    for minor in [INGRESS, EGRESS] {
        let mut message = clsact(ifindex);
        message.header.parent = TcHandle { major: TcHandle::CLSACT.major, minor };
        let filters = netlink::dump(RouteNetlinkMessage::GetTrafficFilter(message)).context("list filters")?;
        if !filters.is_empty() {
            return Ok(());
        }
    }
    netlink::change(RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex))).context("remove the clsact qdisc")
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
const INGRESS: u16 = 0xfff2;
const EGRESS: u16 = 0xfff3;

fn clsact(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex as i32);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message
}
