//! From bytes to a TCP segment: the headers in wire order, one bounds check each.

use core::mem::offset_of;

use aya_ebpf::programs::TcContext;
use network_types::{
    eth::{EthHdr, EtherType},
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};
use redirector_common::{Address, Family, Flow, Protocol, Reason};

/// The most that the headers take: Ethernet, IPv4 with all its options, TCP without any.
const MAX_HEADERS: u32 = (EthHdr::LEN + 60 + TcpHdr::LEN) as u32;

/// A TCP segment whose headers were checked. Offsets are from the start of the packet, in bytes.
pub struct Segment {
    pub family: Family,
    pub network: usize,
    pub transport: usize,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    flags: u8,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Segment {
    /// Whether it may start a connection; what a listener ignores does not
    /// (<https://github.com/torvalds/linux/blob/v6.18/net/ipv4/tcp_input.c>, `tcp_rcv_state_process`, TCP_LISTEN).
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether it may be the last step of a handshake.
    #[inline(always)]
    pub fn acknowledges(&self) -> bool {
        self.flags & (SYN | ACK | RST) == ACK
    }

    /// The addresses and ports. Read only when a route names the port: most packets never need them.
    #[inline(always)]
    pub fn flow(&self, ctx: &TcContext) -> Result<Flow, Reason> {
        let (source, destination) = match self.family {
            Family::V4 => {
                let ip = header::<Ipv4Hdr>(ctx, EthHdr::LEN)?;
                (Address::v4(ip.src_addr), Address::v4(ip.dst_addr))
            }
            Family::V6 => {
                // By halves of words, which is as much as the Ethernet header leaves aligned.
                let offset = EthHdr::LEN + offset_of!(Ipv6Hdr, src_addr);
                let [source, destination] = *header::<[[u16; 8]; 2]>(ctx, offset)?;
                (Address::from_halves(source), Address::from_halves(destination))
            }
        };
        Ok(Flow {
            family: self.family,
            protocol: Protocol::Tcp,
            source,
            destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
        })
    }
}

/// The packet's TCP segment, or why it is not one that we understand.
#[inline(always)]
pub fn segment(ctx: &TcContext) -> Result<Segment, Reason> {
    // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
    let tagged = unsafe { (*ctx.skb.skb).vlan_present } != 0;
    if tagged {
        return Err(Reason::Vlan);
    }
    match headers(ctx) {
        Err(Reason::Truncated) if make_linear(ctx) => headers(ctx),
        segment => segment,
    }
}

#[inline(always)]
fn headers(ctx: &TcContext) -> Result<Segment, Reason> {
    let (family, transport) = match header::<EthHdr>(ctx, 0)?.ether_type() {
        Ok(EtherType::Ipv4) => (Family::V4, ipv4(ctx)?),
        Ok(EtherType::Ipv6) => (Family::V6, ipv6(ctx)?),
        Ok(EtherType::Ieee8021q | EtherType::Ieee8021ad) => return Err(Reason::Vlan),
        _ => return Err(Reason::NotIp),
    };
    let tcp = header::<TcpHdr>(ctx, transport)?;
    if tcp.doff() < 5 {
        return Err(Reason::Malformed);
    }
    Ok(Segment {
        family,
        network: EthHdr::LEN,
        transport,
        source_port: u16::from_be_bytes(tcp.source),
        destination_port: u16::from_be_bytes(tcp.dest),
        flags: flags(tcp),
    })
}

/// Offset of the TCP header behind an IPv4 header.
#[inline(always)]
fn ipv4(ctx: &TcContext) -> Result<usize, Reason> {
    let ip = header::<Ipv4Hdr>(ctx, EthHdr::LEN)?;
    let header_length = usize::from(ip.ihl());
    if ip.version() != 4 || header_length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    if ip.proto != IpProto::Tcp as u8 {
        return Err(Reason::OtherProtocol);
    }
    if ip.frag_offset() != 0 || ip.frag_flags() & MORE_FRAGMENTS != 0 {
        return Err(Reason::Fragment);
    }
    enough(ctx, usize::from(u16::from_be_bytes(ip.tot_len)), header_length)?;
    Ok(EthHdr::LEN + header_length)
}

/// Bit of the three flags in front of the fragment offset.
const MORE_FRAGMENTS: u8 = 0b001;

/// Offset of the TCP header behind an IPv6 header.
#[inline(always)]
fn ipv6(ctx: &TcContext) -> Result<usize, Reason> {
    let ip = header::<Ipv6Hdr>(ctx, EthHdr::LEN)?;
    if ip.version() != 6 {
        return Err(Reason::Malformed);
    }
    match ip.next_hdr() {
        Ok(IpProto::Tcp) => {}
        Ok(IpProto::Ipv6Frag) => return Err(Reason::Fragment),
        Ok(IpProto::HopOpt | IpProto::Ipv6Route | IpProto::Ipv6Opts | IpProto::Ah) => {
            return Err(Reason::ExtensionHeader);
        }
        _ => return Err(Reason::OtherProtocol),
    }
    let payload = usize::from(u16::from_be_bytes(ip.payload_len));
    let total = if payload == 0 { 0 } else { Ipv6Hdr::LEN + payload };
    enough(ctx, total, Ipv6Hdr::LEN)?;
    Ok(EthHdr::LEN + Ipv6Hdr::LEN)
}

/// Checks the length that the IP header states (0: too long for its field, as only GSO packets are) against the
/// packet's and against the headers.
#[inline(always)]
fn enough(ctx: &TcContext, total: usize, header_length: usize) -> Result<(), Reason> {
    if total == 0 {
        // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
        let gso_size = unsafe { (*ctx.skb.skb).gso_size };
        return if gso_size == 0 { Err(Reason::Malformed) } else { Ok(()) };
    }
    if total < header_length {
        return Err(Reason::Malformed);
    }
    if total < header_length + TcpHdr::LEN || EthHdr::LEN + total > ctx.len() as usize {
        return Err(Reason::Truncated);
    }
    Ok(())
}

/// Brings the headers into the part of the packet that programs can read, if they are not all there: drivers that
/// build packets from pages leave as little as the Ethernet header. Whether there is more to read now.
///
/// Only when it is needed. A sender on this host leaves the payload outside, and to bring that in copies the packet's
/// head, which costs more than all the rest of the program.
#[inline(always)]
fn make_linear(ctx: &TcContext) -> bool {
    let readable = (ctx.data_end() - ctx.data()) as u32;
    let wanted = if ctx.len() < MAX_HEADERS { ctx.len() } else { MAX_HEADERS };
    readable < wanted && ctx.pull_data(wanted).is_ok()
}

/// A header at an offset, which must be borrowed anew after whatever may move the packet.
///
/// Inlined, for the verifier refuses arithmetic on the packet's end in a subprogram.
#[inline(always)]
pub fn header<T>(ctx: &TcContext, offset: usize) -> Result<&T, Reason> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return Err(Reason::Truncated);
    }
    // SAFETY: the whole header lies within the packet, as just checked, and the headers used here are made of
    // bytes, so that any address and any content is valid. Addresses are made of halves of words: packets begin at even
    // addresses, and the verifier refuses what the machine cannot read otherwise.
    Ok(unsafe { &*(start as *const T) })
}

/// The byte of flags, from FIN (lowest bit) to CWR.
#[inline(always)]
fn flags(tcp: &TcpHdr) -> u8 {
    (tcp.fin() | tcp.syn() << 1 | tcp.rst() << 2 | tcp.ack() << 4) as u8
}
