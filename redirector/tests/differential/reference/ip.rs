//! The IP header, and what is behind it.

use std::net::IpAddr;

use redirector_common::{Family, Reason};

use super::{Packet, extension, fragment::Piece, number};

/// What the headers of IP say.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hops: u8,
    /// The number of the protocol behind it.
    pub protocol: u8,
    /// Where that begins, and where the packet ends by its own word, in bytes from the start of the packet.
    pub behind: usize,
    pub end: usize,
    /// Which piece of a packet this is, if it is one.
    pub piece: Option<Piece>,
}

/// Reads the header, and those of IPv6's extensions.
pub fn read(packet: &Packet, family: Family) -> Result<Header, Reason> {
    match family {
        Family::V4 => v4(packet),
        Family::V6 => v6(packet),
    }
}

fn v4(packet: &Packet) -> Result<Header, Reason> {
    let start = packet.network();
    let Some(ip) = packet.bytes.get(start..start + 20) else { return Err(Reason::Truncated) };
    let length = usize::from(ip[0] & 0xf) * 4;
    if ip[0] >> 4 != 4 || length < 20 {
        return Err(Reason::Malformed);
    }
    if !matches!(ip[9], number::TCP | number::UDP | number::ICMP) {
        return Err(Reason::OtherProtocol);
    }
    let field = packet.word(start + 6);
    let piece = Piece {
        identification: packet.word(start + 4).into(),
        offset: field & 0x1fff,
        more: field & 0x2000 != 0,
        header: None,
    };
    let stated = usize::from(packet.word(start + 2));
    Ok(Header {
        source: <[u8; 4]>::try_from(&ip[12..16]).expect("four bytes").into(),
        destination: <[u8; 4]>::try_from(&ip[16..20]).expect("four bytes").into(),
        hops: ip[8],
        protocol: ip[9],
        behind: start + length,
        end: end(packet, start, stated, length)?,
        piece: Some(piece).filter(|piece| piece.offset != 0 || piece.more),
    })
}

fn v6(packet: &Packet) -> Result<Header, Reason> {
    let start = packet.network();
    let Some(ip) = packet.bytes.get(start..start + 40) else { return Err(Reason::Truncated) };
    if ip[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let is_known =
        matches!(ip[6], number::TCP | number::UDP | number::ICMP_V6) || number::is_extension(ip[6]);
    if !is_known {
        return Err(Reason::OtherProtocol);
    }
    let payload = usize::from(packet.word(start + 4));
    let end = end(packet, start, if payload == 0 { 0 } else { 40 + payload }, 40)?;
    let chain = extension::walk(&packet.bytes, start + 40, end, ip[6])?;
    Ok(Header {
        source: <[u8; 16]>::try_from(&ip[8..24]).expect("16 bytes").into(),
        destination: <[u8; 16]>::try_from(&ip[24..40]).expect("16 bytes").into(),
        hops: ip[7],
        protocol: chain.protocol,
        behind: chain.behind,
        end,
        piece: chain.piece,
    })
}

/// Where the packet ends by its own word. One that stands for several segments may be too long for the field, which is 0 then.
fn end(packet: &Packet, start: usize, stated: usize, header: usize) -> Result<usize, Reason> {
    if stated == 0 && packet.gso_size != 0 {
        return Ok(packet.bytes.len());
    }
    if stated < header {
        return Err(Reason::Malformed);
    }
    if start + stated > packet.bytes.len() { Err(Reason::Truncated) } else { Ok(start + stated) }
}
