//! The transport header: TCP or UDP.

use aya_ebpf::programs::TcContext;
use network_types::{ip::IpProto, tcp::TcpHdr, udp::UdpHdr};
use redirector_common::{Protocol, Reason};

use super::{header, is_gso};

/// What the transport header says.
pub struct Ports {
    /// Host order.
    pub source: u16,
    /// Host order.
    pub destination: u16,
    pub flags: Flags,
}

/// TCP's flags, from FIN (lowest bit) to ACK. A datagram has those of a SYN: it is decided by itself, as a SYN is.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Flags(u8);

impl Flags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// Whether a segment may start a connection; what a listener ignores does not
    /// (<https://github.com/torvalds/linux/blob/v6.18/net/ipv4/tcp_input.c>, `tcp_rcv_state_process`, TCP_LISTEN).
    #[inline(always)]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Whether it ends a connection at once.
    #[inline(always)]
    pub fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether it may be the last step of a handshake.
    #[inline(always)]
    pub fn acknowledges(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::ACK
    }
}

/// The protocol of a number in an IP header, if routes can name it.
#[inline(always)]
pub fn protocol(number: u8) -> Option<Protocol> {
    match number {
        number if number == IpProto::Tcp as u8 => Some(Protocol::Tcp),
        number if number == IpProto::Udp as u8 => Some(Protocol::Udp),
        _ => None,
    }
}

/// The least length of a protocol's header, in bytes.
#[inline(always)]
pub const fn least(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => TcpHdr::LEN,
        Protocol::Udp => UdpHdr::LEN,
    }
}

/// Reads the header at an offset. So much room does the IP header leave it, and what it carries.
#[inline(always)]
pub fn ports(ctx: &TcContext, protocol: Protocol, at: usize, room: usize) -> Result<Ports, Reason> {
    match protocol {
        Protocol::Tcp => Ports::of_tcp(header(ctx, at)?),
        Protocol::Udp => Ports::of_udp(header(ctx, at)?, room, is_gso(ctx)),
    }
}

impl Ports {
    #[inline(always)]
    pub fn of_tcp(tcp: &TcpHdr) -> Result<Self, Reason> {
        if tcp.doff() < 5 {
            return Err(Reason::Malformed);
        }
        let flags = (tcp.fin() | tcp.syn() << 1 | tcp.rst() << 2 | tcp.ack() << 4) as u8;
        Ok(Self::new(tcp.source, tcp.dest, Flags(flags)))
    }

    /// What stands for several datagrams says anything of its length, or nothing where that is too long for the field.
    #[inline(always)]
    pub fn of_udp(udp: &UdpHdr, room: usize, is_gso: bool) -> Result<Self, Reason> {
        if !is_gso {
            let length = usize::from(u16::from_be_bytes(udp.len));
            if length < UdpHdr::LEN {
                return Err(Reason::Malformed);
            }
            if length > room {
                return Err(Reason::Truncated);
            }
        }
        Ok(Self::new(udp.src, udp.dst, Flags(Flags::SYN)))
    }

    #[inline(always)]
    fn new(source: [u8; 2], destination: [u8; 2], flags: Flags) -> Self {
        Self { source: u16::from_be_bytes(source), destination: u16::from_be_bytes(destination), flags }
    }
}
