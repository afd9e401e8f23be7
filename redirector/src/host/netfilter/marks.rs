//! Whose rules read or write bits of the packet's mark, or of a connection's, which is copied from and to it.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};

use super::{
    attributes::Reader,
    chains,
    contents::NAME,
    message::Message,
    nftables::{self, kind, rule},
};

/// The chains, other than ours, with a rule that uses bits of the mask, by native expressions or by those of
/// iptables-nft. Rules of iptables-legacy are not seen: the kernel has no netlink for them.
///
/// # Errors
///
/// The kernel's.
pub fn mark_users(mask: u32) -> Result<Vec<String>> {
    let users = nftables::list(kind::GET_RULE, |message: Message| {
        let attributes = message.attributes();
        let (table, chain) = (attributes.text(rule::TABLE)?, attributes.text(rule::CHAIN)?);
        let uses = bits(attributes.nested(rule::EXPRESSIONS)) & mask != 0;
        (uses && table != NAME).then(|| chains::name(message.family, table, chain))
    });
    let users: BTreeSet<String> = users.context("list nft rules")?.into_iter().collect();
    Ok(users.into_iter().collect())
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Bits of a mark: those of `mask` as they were, those of `flipped` turned round.
    Mark { of: Mark, mask: u32, flipped: u32 },
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Packet,
    Connection,
}

/// The bits of marks that a rule compares or changes.
fn bits(expressions: Reader<'_>) -> u32 {
    let mut registers = HashMap::new();
    let mut used = 0;
    for (_, element) in expressions {
        let element = Reader(element);
        let data = element.nested(rule::DATA);
        used |= match element.text(rule::NAME) {
            Some("meta") => mark(data, Mark::Packet, [META_DREG, META_SREG], META_MARK, &mut registers),
            Some("ct") => mark(data, Mark::Connection, [CT_DREG, CT_SREG], CT_MARK, &mut registers),
            Some("bitwise") => {
                bitwise(data, &mut registers);
                0
            }
            Some("immediate") => {
                registers.extend(data.u32(IMMEDIATE_DREG).map(|register| (register, Value::Other)));
                0
            }
            Some("cmp" | "range") => compared(data.u32(COMPARE_SREG), &registers),
            Some("lookup") => compared(data.u32(LOOKUP_SREG), &registers),
            Some("match") => matched(data),
            Some("target") => targeted(data),
            _ => 0,
        };
    }
    used
}

/// A mark is loaded into a register, or set to what one holds.
fn mark(
    data: Reader<'_>,
    of: Mark,
    [to, from]: [u16; 2],
    key: u32,
    registers: &mut HashMap<u32, Value>,
) -> u32 {
    let is_mark = data.u32(KEY) == Some(key);
    if let Some(register) = data.u32(to) {
        let value = if is_mark { Value::Mark { of, mask: u32::MAX, flipped: 0 } } else { Value::Other };
        registers.insert(register, value);
        return 0;
    }
    let Some(register) = data.u32(from).filter(|_| is_mark) else { return 0 };
    match registers.get(&register) {
        Some(Value::Mark { of: source, mask, flipped }) if *source == of => !mask | flipped,
        // Every bit of the mark is written, those that are not copied with zero.
        _ => u32::MAX,
    }
}

/// `to = from & mask ^ flipped`.
fn bitwise(data: Reader<'_>, registers: &mut HashMap<u32, Value>) {
    const MASK_AND_FLIP: u32 = 0;
    let (Some(from), Some(to)) = (data.u32(BITWISE_SREG), data.u32(BITWISE_DREG)) else { return };
    let operand = |kind| data.nested(kind).get(DATA_VALUE).and_then(number);
    let is_simple = data.u32(BITWISE_OPERATION).unwrap_or(MASK_AND_FLIP) == MASK_AND_FLIP;
    let value = match (registers.get(&from), operand(BITWISE_MASK), operand(BITWISE_XOR)) {
        (Some(&Value::Mark { of, mask, flipped }), Some(and), Some(xor)) if is_simple => {
            Value::Mark { of, mask: mask & and, flipped: flipped & and ^ xor }
        }
        (Some(&mark @ Value::Mark { .. }), ..) => mark,
        _ => Value::Other,
    };
    registers.insert(to, value);
}

/// A register is compared with a value, or looked up in a set.
fn compared(register: Option<u32>, registers: &HashMap<u32, Value>) -> u32 {
    match register.and_then(|register| registers.get(&register)) {
        Some(Value::Mark { mask, .. }) => *mask,
        _ => 0,
    }
}

/// The matches `mark` and `connmark` of iptables: value, mask (include/uapi/linux/netfilter/xt_mark.h).
fn matched(data: Reader<'_>) -> u32 {
    match (data.text(rule::XT_NAME), numbers(data)) {
        (Some("mark" | "connmark"), [_, mask, _]) => mask,
        _ => 0,
    }
}

/// The targets `MARK`, value and mask, and `CONNMARK`, value and mask of the connection's mark, mask of the packet's.
fn targeted(data: Reader<'_>) -> u32 {
    match (data.text(rule::XT_NAME), numbers(data)) {
        (Some("MARK"), [value, mask, _]) => value | mask,
        (Some("CONNMARK"), [value, mask, of_packet]) => value | mask | of_packet,
        _ => 0,
    }
}

/// The first three numbers of what a match or target is told.
fn numbers(data: Reader<'_>) -> [u32; 3] {
    let mut numbers = data.get(XT_INFO).unwrap_or_default().chunks_exact(4).filter_map(number);
    std::array::from_fn(|_| numbers.next().unwrap_or_default())
}

/// Registers and the structures of iptables have the byte order of the host.
fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

// Attributes of expressions (include/uapi/linux/netfilter/nf_tables.h and nf_tables_compat.h).
const META_DREG: u16 = 1;
const META_SREG: u16 = 3;
const META_MARK: u32 = super::expressions::META_MARK;
const CT_DREG: u16 = 1;
const CT_SREG: u16 = 4;
const CT_MARK: u32 = 3;
/// Of both.
const KEY: u16 = 2;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const BITWISE_OPERATION: u16 = 6;
const DATA_VALUE: u16 = 1;
const IMMEDIATE_DREG: u16 = 1;
const COMPARE_SREG: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const XT_INFO: u16 = 3;
