//! Connections that NAT has translated before we came: they must not lend their translation to a steered one.
//!
//! A SYN whose 4-tuple has an entry is translated as that entry says, whatever our table says, and a client that
//! uses a port again meets the entry of an older connection that died without a word. To delete the entry would cut
//! off the connection that is alive: its next packet is translated anew, perhaps to another server. Told instead that
//! the connection is closing (TIME_WAIT, with its FIN seen), the kernel goes on to translate the packets of one that
//! lives, and makes way for a new one at the first SYN (net/netfilter/nf_conntrack_proto_tcp.c,
//! nf_conntrack_tcp_packet, "Attempt to reopen a closed/aborted connection").
//!
//! A flow of UDP has no beginning, and a route decides each of its datagrams: its entry is deleted.

use std::io;

use anyhow::{Context as _, Result};
use redirector_common::{Address, Family, Flow, Protocol};

use super::{
    attributes::{Attributes, Reader},
    message::{CTNETLINK, Message},
    nfnetlink::Nfnetlink,
    nftables::family,
};

/// Has translated connections and flows for which `is_steered` holds make way for new ones, and counts them.
///
/// # Errors
///
/// The kernel's.
pub fn make_way(is_steered: impl Fn(&Flow) -> bool) -> Result<usize> {
    let socket = Nfnetlink::open().context("open a netfilter socket")?;
    let mut count = 0;
    for family in [family::IP, family::IP6] {
        // The families of conntrack are those of sockets: AF_INET6 is NFPROTO_IPV6.
        let request = Message::new(GET, family, &Attributes::new());
        let translated = socket.dump(&request, |message| {
            let entry = Entry::read(message.family, message.attributes())?;
            (entry.is_translated && is_steered(&entry.flow)).then_some(entry.request)
        });
        for request in translated.context("list tracked connections")? {
            match socket.change(request) {
                Ok(()) => count += 1,
                // It has ended by itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("have a tracked connection make way"),
            }
        }
    }
    Ok(count)
}

/// A tracked TCP connection or UDP flow.
struct Entry {
    /// As its first packet was before any translation.
    flow: Flow,
    /// Whether its destination is another than that.
    is_translated: bool,
    /// What is asked of the kernel to have it make way.
    request: Message,
}

impl Entry {
    fn read(family: u8, attributes: Reader<'_>) -> Option<Self> {
        let flow = flow(family, attributes.nested(ORIGINAL))?;
        let reply = self::flow(family, attributes.nested(REPLY))?;
        let is_translated = (reply.source, reply.source_port) != (flow.destination, flow.destination_port);
        let mut about = Attributes::new();
        for kind in [ORIGINAL, ZONE] {
            if let Some(value) = attributes.get(kind) {
                about = about.with(kind, value);
            }
        }
        let request = match flow.protocol {
            Protocol::Tcp => {
                let tcp = Attributes::new()
                    .with(TCP_STATE, &[TIME_WAIT])
                    .with(TCP_FLAGS_ORIGINAL, &[CLOSE_INIT, CLOSE_INIT]);
                let state = Attributes::new().with_nested(TCP, &tcp);
                Message::new(NEW, family, &about.with_nested(PROTOCOL_STATE, &state))
            }
            Protocol::Udp => Message::new(DELETE, family, &about),
        };
        Some(Self { flow, is_translated, request })
    }
}

/// One direction of a connection.
fn flow(family: u8, tuple: Reader<'_>) -> Option<Flow> {
    let (addresses, ports) = (tuple.nested(TUPLE_ADDRESSES), tuple.nested(TUPLE_PROTOCOL));
    const TCP: u8 = libc::IPPROTO_TCP as u8;
    const UDP: u8 = libc::IPPROTO_UDP as u8;
    let protocol = match ports.get(PROTOCOL_NUMBER)? {
        [TCP] => Protocol::Tcp,
        [UDP] => Protocol::Udp,
        _ => return None,
    };
    let v4 = |kind| Some(Address::v4(addresses.get(kind)?.try_into().ok()?));
    let v6 = |kind| Some(Address::v6(addresses.get(kind)?.try_into().ok()?));
    let (family, source, destination) = match family {
        family::IP => (Family::V4, v4(SOURCE_V4)?, v4(DESTINATION_V4)?),
        family::IP6 => (Family::V6, v6(SOURCE_V6)?, v6(DESTINATION_V6)?),
        _ => return None,
    };
    let port = |kind| Some(u16::from_be_bytes(ports.get(kind)?.try_into().ok()?));
    let (source_port, destination_port) = (port(SOURCE_PORT)?, port(DESTINATION_PORT)?);
    Some(Flow { family, protocol, source, destination, source_port, destination_port })
}

/// IPCTNL_MSG_CT_NEW: without NLM_F_CREATE it changes what is there. This and the rest:
/// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const NEW: u16 = CTNETLINK;
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const PROTOCOL_STATE: u16 = 4;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const SOURCE_V4: u16 = 1;
const DESTINATION_V4: u16 = 2;
const SOURCE_V6: u16 = 3;
const DESTINATION_V6: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const TCP: u16 = 1;
const TCP_STATE: u16 = 1;
/// Value and mask.
const TCP_FLAGS_ORIGINAL: u16 = 4;
/// TCP_CONNTRACK_TIME_WAIT and IP_CT_TCP_FLAG_CLOSE_INIT (include/uapi/linux/netfilter/nf_conntrack_tcp.h).
const TIME_WAIT: u8 = 7;
const CLOSE_INIT: u8 = 4;
