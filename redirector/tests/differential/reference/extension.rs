//! IPv6's extension headers.

use redirector_common::Reason;

use super::{fragment::Piece, number};

/// The most headers, and the most bytes of them, behind which we look.
const MOST: usize = 8;
const MOST_BYTES: usize = 1024;

/// The end of a chain of headers.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// The number of what follows, and where it begins. In a piece which is not the first that says nothing.
    pub protocol: u8,
    pub behind: usize,
    pub piece: Option<Piece>,
}

/// Walks the headers that begin at an offset and end at another, of which the first is of this kind.
pub fn walk(bytes: &[u8], begin: usize, end: usize, first: u8) -> Result<Chain, Reason> {
    let mut chain = Chain { protocol: first, behind: begin, piece: None };
    let mut fragment_headers = 0;
    for count in 0.. {
        let kind = chain.protocol;
        if !number::is_extension(kind) {
            break;
        }
        if !number::is_walked(kind) || count == MOST {
            return Err(Reason::ExtensionHeader);
        }
        if kind == number::HOP_BY_HOP && count > 0 {
            return Err(Reason::Malformed);
        }
        let at = chain.behind;
        let length = match bytes.get(at..at + 8) {
            Some(header) if kind != number::FRAGMENT => (usize::from(header[1]) + 1) * 8,
            _ => 8,
        };
        if at + length > end {
            // The rest may be in the next piece.
            return if chain.piece.is_some() {
                Ok(Chain { behind: end, protocol: number::TCP, ..chain })
            } else {
                Err(Reason::Truncated)
            };
        }
        match kind {
            // The packet is to be sent on, to an address in this header.
            number::ROUTING if bytes[at + 3] != 0 => return Err(Reason::ExtensionHeader),
            number::FRAGMENT => {
                fragment_headers += 1;
                if fragment_headers > 1 {
                    return Err(Reason::Malformed);
                }
                let piece = Piece::of_header(bytes, at);
                if piece.offset != 0 {
                    return Ok(Chain { piece: Some(piece), ..chain });
                }
                // One that is the first and the last is whole.
                chain.piece = Some(piece).filter(|piece| piece.more);
            }
            _ => {}
        }
        chain.behind += length;
        if chain.behind - begin > MOST_BYTES {
            return Err(Reason::ExtensionHeader);
        }
        chain.protocol = bytes[at];
    }
    match chain.protocol {
        number::TCP | number::UDP | number::ICMP_V6 => Ok(chain),
        _ => Err(Reason::OtherProtocol),
    }
}
