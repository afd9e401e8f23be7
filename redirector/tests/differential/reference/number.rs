//! Numbers of protocols and of IPv6's extension headers (IANA, "Protocol Numbers").

use redirector_common::Protocol;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const ICMP_V6: u8 = 58;
pub const OPTIONS: u8 = 60;
pub const MOBILITY: u8 = 135;
pub const HOST_IDENTITY: u8 = 139;
pub const SHIM6: u8 = 140;

/// The protocol of a number, if routes can name it.
pub const fn protocol(number: u8) -> Option<Protocol> {
    match number {
        TCP => Some(Protocol::Tcp),
        UDP => Some(Protocol::Udp),
        _ => None,
    }
}

/// Whether this is an extension header. ESP is none to us: nobody can look behind it.
pub const fn is_extension(number: u8) -> bool {
    is_walked(number) || matches!(number, AUTHENTICATION | MOBILITY | HOST_IDENTITY | SHIM6)
}

/// Whether it is one behind which we look.
pub const fn is_walked(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | OPTIONS)
}
