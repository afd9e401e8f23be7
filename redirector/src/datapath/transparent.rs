//! Where the kernel keeps a socket's IP_TRANSPARENT flag, from its own type information (BTF).
//!
//! A listener without the flag cannot answer for an address that is not of this host: its SYN-ACK is refused,
//! and the client would wait for ever. The programs therefore look at each new connection.
//!
//! BTF parsers for Rust build the whole kernel's type graph, which is tens of megabytes in an agent of a few;
//! one pass over the section finds two names.

use std::{collections::HashMap, fs};

use anyhow::{Context, Result, bail, ensure};

/// The kernel's BTF.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A flag within a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Offset of the byte from the start of the structure.
    pub byte: u32,
    /// The flag's bit in that byte.
    pub mask: u8,
}

/// Finds the flag in `struct inet_sock`, which every `struct tcp_sock` begins with.
///
/// # Errors
///
/// The kernel has no BTF, or none that knows the flag.
pub fn flag() -> Result<Flag> {
    let btf = fs::read(VMLINUX).with_context(|| format!("read {VMLINUX}"))?;
    find(&btf).with_context(|| format!("read the types in {VMLINUX}"))
}

/// Whether the kernel has the types that the programs rely on.
///
/// # Errors
///
/// It has no BTF, or none that knows the flag.
pub fn kernel_has_btf() -> Result<()> {
    flag().map(drop)
}

/// BTF kinds by number (include/uapi/linux/btf.h).
mod kind {
    pub const INT: u32 = 1;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const ENUM64: u32 = 19;
}

fn find(btf: &[u8]) -> Result<Flag> {
    ensure!(word(btf, 0)? & 0xffff == 0xeb9f, "no BTF in this host's byte order");
    let header = word(btf, 4)? as usize;
    let types = header + word(btf, 8)? as usize;
    let types_end = types + word(btf, 12)? as usize;
    let strings = header + word(btf, 16)? as usize;

    // `transparent` is a bit field before 6.6 and a bit of `inet_flags`, numbered by an enum, since.
    let mut members = HashMap::new();
    let mut bit = None;
    let mut at = types;
    while at < types_end {
        let info = word(btf, at + 4)?;
        let (kind, count, bitfields) = (info >> 24 & 0x1f, (info & 0xffff) as usize, info >> 31 != 0);
        let entry = at + 12;
        let entry_size = match kind {
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12,
            kind::ENUM | kind::FUNC_PROTO => 8,
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            _ => 0,
        };
        let entries = match kind {
            kind::INT | kind::VAR | kind::DECL_TAG | kind::ARRAY => 1,
            _ => count,
        };
        if kind == kind::STRUCT && text(btf, strings, word(btf, at)?)? == "inet_sock" {
            for member in (0..count).map(|index| entry + index * entry_size) {
                let offset = word(btf, member + 8)?;
                let bits = if bitfields { offset & 0x00ff_ffff } else { offset };
                members.insert(text(btf, strings, word(btf, member)?)?.to_owned(), bits);
            }
        }
        if kind == kind::ENUM {
            for value in (0..count).map(|index| entry + index * entry_size) {
                if text(btf, strings, word(btf, value)?)? == "INET_FLAGS_TRANSPARENT" {
                    bit = Some(word(btf, value + 4)?);
                }
            }
        }
        at = entry + entries * entry_size;
    }
    match (members.get("transparent"), members.get("inet_flags"), bit) {
        (Some(field), _, _) => Ok(Flag { byte: field / 8, mask: bit_in_byte(field % 8, 8) }),
        (None, Some(flags), Some(bit)) => {
            let byte = if cfg!(target_endian = "little") {
                bit / 8
            } else {
                size_of::<usize>() as u32 - 1 - bit / 8
            };
            Ok(Flag { byte: flags / 8 + byte, mask: 1 << (bit % 8) })
        }
        _ => bail!("struct inet_sock has neither `transparent` nor `inet_flags`"),
    }
}

/// The mask of a bit field's only bit, where fields are laid out from the first in memory on.
fn bit_in_byte(bit: u32, width: u32) -> u8 {
    if cfg!(target_endian = "little") { 1 << bit } else { 1 << (width - 1 - bit) }
}

fn word(btf: &[u8], at: usize) -> Result<u32> {
    let bytes = btf.get(at..at + 4).context("the types end early")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

fn text(btf: &[u8], strings: usize, offset: u32) -> Result<&str> {
    let bytes = btf.get(strings + offset as usize..).context("the strings end early")?;
    let end = bytes.iter().position(|byte| *byte == 0).context("a string does not end")?;
    Ok(std::str::from_utf8(&bytes[..end])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_knows_the_flag() {
        let flag = flag().expect("the kernel that runs the tests has BTF");
        assert!(flag.byte > 0);
        assert_eq!(flag.mask.count_ones(), 1);
    }

    #[test]
    fn bytes_that_are_not_btf_are_an_error() {
        for bytes in [&b""[..], b"\x9f\xeb", &[0; 64]] {
            assert!(find(bytes).is_err());
        }
    }
}
