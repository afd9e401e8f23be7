//! A message of netfilter's netlink.

use std::convert::Infallible;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable};

use super::attributes::{Attributes, Reader};

/// A message: what is asked of a subsystem, or what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subsystem and its number for the message.
    pub kind: u16,
    /// NFPROTO_IPV4, and so on.
    pub family: u8,
    /// For the limits of a batch their subsystem, else zero.
    resource: u16,
    attributes: Vec<u8>,
}

impl Message {
    /// A message about things of one family, or of all (0).
    pub fn new(kind: u16, family: u8, attributes: &Attributes) -> Self {
        Self { kind, family, resource: 0, attributes: attributes.bytes().to_vec() }
    }

    /// The beginning or the end of a batch for a subsystem.
    pub fn limit(kind: u16, subsystem: u16) -> Self {
        Self { kind, family: 0, resource: subsystem >> 8, attributes: Vec::new() }
    }

    /// Its attributes.
    pub fn attributes(&self) -> Reader<'_> {
        Reader(&self.attributes)
    }
}

/// Length of `struct nfgenmsg`, in bytes: family, version 0, and the resource in wire order.
const HEADER: usize = 4;

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let [high, low] = self.resource.to_be_bytes();
        buffer[..HEADER].copy_from_slice(&[self.family, 0, high, low]);
        buffer[HEADER..].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        let (family, attributes) = (payload.first().copied(), payload.get(HEADER..));
        Ok(Self {
            kind: header.message_type,
            family: family.unwrap_or_default(),
            resource: 0,
            attributes: attributes.unwrap_or_default().to_vec(),
        })
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

/// Subsystems (include/uapi/linux/netfilter/nfnetlink.h), as they stand in a message's type.
pub const CTNETLINK: u16 = 1 << 8;
/// As above.
pub const NFTABLES: u16 = 10 << 8;
