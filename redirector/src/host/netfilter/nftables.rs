//! The words of nf_tables (include/uapi/linux/netfilter/nf_tables.h): the lists that are read, and what a rule is
//! made of.

use std::io;

use super::{
    attributes::Attributes,
    message::{Message, NFTABLES},
    nfnetlink::Nfnetlink,
};

/// Types of messages.
pub mod kind {
    use super::NFTABLES;

    pub const NEW_TABLE: u16 = NFTABLES;
    pub const GET_TABLE: u16 = NFTABLES | 1;
    pub const DELETE_TABLE: u16 = NFTABLES | 2;
    pub const NEW_CHAIN: u16 = NFTABLES | 3;
    pub const GET_CHAIN: u16 = NFTABLES | 4;
    pub const DELETE_CHAIN: u16 = NFTABLES | 5;
    pub const NEW_RULE: u16 = NFTABLES | 6;
    pub const GET_RULE: u16 = NFTABLES | 7;
}

/// Attributes of a table.
pub mod table {
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
    pub const USER_DATA: u16 = 6;
    /// Port of the socket that owns it.
    pub const OWNER: u16 = 7;
    /// NFT_TABLE_F_OWNER, a flag.
    pub const OWNED: u32 = 2;
}

/// Attributes of a chain.
pub mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    /// A verdict: 0 is NF_DROP.
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    /// Within `HOOK`.
    pub const HOOK_NUMBER: u16 = 1;
    /// Within `HOOK`.
    pub const PRIORITY: u16 = 2;
}

/// Attributes of a rule.
pub mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const EXPRESSIONS: u16 = 4;
    /// Each of `EXPRESSIONS`: NFTA_LIST_ELEM.
    pub const ELEMENT: u16 = 1;
    /// Within an element.
    pub const NAME: u16 = 1;
    /// Within an element.
    pub const DATA: u16 = 2;
    /// Within the data of `immediate`.
    pub const IMMEDIATE_DATA: u16 = 2;
    /// Within that.
    pub const VERDICT: u16 = 2;
    /// Within that: 0 is NF_DROP.
    pub const VERDICT_CODE: u16 = 1;
    /// Within the data of `match` and `target`, which are those of iptables.
    pub const XT_NAME: u16 = 1;
}

/// Numbers of hooks of the families ip, ip6 and inet (include/uapi/linux/netfilter.h).
pub mod hook {
    pub const PREROUTING: u32 = 0;
    pub const INPUT: u32 = 1;
    pub const OUTPUT: u32 = 3;
}

/// Families (include/uapi/linux/netfilter.h), NFPROTO_*.
pub mod family {
    pub const ANY: u8 = 0;
    pub const INET: u8 = 1;
    pub const IP: u8 = 2;
    pub const IP6: u8 = 10;

    /// The word that nft has for it.
    pub fn word(family: u8) -> &'static str {
        match family {
            INET => "inet",
            IP => "ip",
            IP6 => "ip6",
            _ => "another family",
        }
    }
}

/// What `each` makes of all things of a kind; none where the kernel has no nf_tables.
pub fn list<T>(kind: u16, each: impl FnMut(Message) -> Option<T>) -> io::Result<Vec<T>> {
    let listed = Nfnetlink::open()
        .and_then(|socket| socket.dump(&Message::new(kind, family::ANY, &Attributes::new()), each));
    match listed {
        // No netfilter, and a subsystem that nobody has registered (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg).
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EINVAL)) => {
            Ok(Vec::new())
        }
        result => result,
    }
}
