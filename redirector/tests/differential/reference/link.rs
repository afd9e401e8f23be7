//! A packet as it comes by a link.

use redirector_common::{Family, Reason};

/// Kinds of links, each with its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    BridgePort,
    Layer3,
}

/// Length of an Ethernet header, in bytes.
pub const ETHERNET: usize = 14;

/// A packet on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub link: Link,
    pub bytes: Vec<u8>,
    pub mark: u32,
    /// Size of the segments that it stands for, in bytes; 0 if it is one by itself.
    pub gso_size: u32,
}

impl Link {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ethernet, Self::BridgePort, Self::Layer3];

    /// The program for it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ethernet => "tc_ingress",
            Self::BridgePort => "tc_ingress_port",
            Self::Layer3 => "tc_ingress_l3",
        }
    }
}

impl Packet {
    /// Where the IP header begins, in bytes.
    pub const fn network(&self) -> usize {
        match self.link {
            Link::Layer3 => 0,
            Link::Ethernet | Link::BridgePort => ETHERNET,
        }
    }

    /// The type that the kernel takes a frame for. A test run reads it from where an Ethernet header has it, also where
    /// there is none.
    pub fn frame_type(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }

    /// The family of what is in it.
    pub fn family(&self) -> Result<Family, Reason> {
        match self.frame_type() {
            0x0800 => Ok(Family::V4),
            0x86dd => Ok(Family::V6),
            0x8100 | 0x88a8 => Err(Reason::Vlan),
            _ => Err(Reason::NotIp),
        }
    }

    /// Whether the frame is for this host, or, on a port of a bridge, for one single host. A test run is by a device whose
    /// MAC address is all zero.
    pub fn is_for_us(&self) -> bool {
        let ours = self.bytes[..6] == [0; 6];
        let one = self.bytes[0] & 1 == 0;
        match self.link {
            Link::Ethernet => ours,
            Link::BridgePort => one,
            Link::Layer3 => true,
        }
    }

    /// What is led to this host is addressed to it, at a port of a bridge that has this MAC address.
    pub fn bring_up(&self, bridge: Option<[u8; 6]>, bytes: &mut [u8]) {
        if let (Link::BridgePort, Some(bridge)) = (self.link, bridge) {
            bytes[..6].copy_from_slice(&bridge);
        }
    }

    /// Two bytes as a number.
    pub fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}
