//! Rules, from the expressions that the kernel runs one after the other. One that does not hold ends the rule.

use redirector_common::Protocol;

use super::{
    attributes::Attributes,
    nftables::{family, rule},
};

/// The register through which the expressions of a rule hand on what they loaded (NFT_REG_1).
const REGISTER: u32 = 1;

/// A rule that is being made.
#[derive(Default)]
pub struct Rule(Attributes);

impl Rule {
    /// One that holds for every packet and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// For packets that have the mark: value and mask.
    pub fn marked(self, mark: u32) -> Self {
        // Registers have the byte order of the host.
        let (mark, nothing) = (data(&mark.to_ne_bytes()), data(&[0; 4]));
        let masked = Attributes::new()
            .with_u32(1, REGISTER) // from
            .with_u32(2, REGISTER) // to
            .with_u32(3, 4) // bytes
            .with_nested(4, &mark)
            .with_nested(5, &nothing);
        self.meta(META_MARK).with("bitwise", &masked).compare(EQUAL, &mark)
    }

    /// For a transport protocol.
    pub fn of(self, protocol: Protocol) -> Self {
        let number = match protocol {
            Protocol::Tcp => libc::IPPROTO_TCP,
            Protocol::Udp => libc::IPPROTO_UDP,
        };
        self.meta(META_L4PROTO).compare(EQUAL, &data(&[number as u8]))
    }

    /// For packets of a transparent socket of this host: the one that sent it, or the one that it is for.
    pub fn of_transparent_socket(self) -> Self {
        const TRANSPARENT: u32 = 0;
        let socket = Attributes::new().with_u32(1, TRANSPARENT).with_u32(2, REGISTER);
        self.with("socket", &socket).compare(EQUAL, &data(&[1]))
    }

    /// For packets from an address that is not of this host.
    pub fn of_foreign_source(self) -> Self {
        const OF_SOURCE: u32 = 1;
        self.address_type(OF_SOURCE, DIFFERENT)
    }

    /// For packets to an address of this host.
    pub fn of_local_destination(self) -> Self {
        const OF_DESTINATION: u32 = 2;
        self.address_type(OF_DESTINATION, EQUAL)
    }

    /// Translates the destination to what it is.
    pub fn keep_destination(self, family: u8) -> Self {
        const NETWORK_HEADER: u32 = 1;
        const DNAT: u32 = 1;
        // Offset and length of the destination in the header.
        let (offset, length) = if family == family::IP { (16, 4) } else { (24, 16) };
        let load = Attributes::new()
            .with_u32(1, REGISTER)
            .with_u32(2, NETWORK_HEADER)
            .with_u32(3, offset)
            .with_u32(4, length);
        let nat = Attributes::new().with_u32(1, DNAT).with_u32(2, u32::from(family)).with_u32(3, REGISTER);
        self.with("payload", &load).with("nat", &nat)
    }

    /// Keeps the packet out of connection tracking.
    pub fn untracked(self) -> Self {
        self.with("notrack", &Attributes::new())
    }

    /// No further rule of the chain sees the packet.
    pub fn accept(self) -> Self {
        const VERDICT_REGISTER: u32 = 0;
        const ACCEPT: u32 = 1;
        let accept = Attributes::new().with_u32(rule::VERDICT_CODE, ACCEPT);
        let verdict = Attributes::new().with_nested(rule::VERDICT, &accept);
        let immediate = Attributes::new().with_u32(1, VERDICT_REGISTER);
        self.with("immediate", &immediate.with_nested(rule::IMMEDIATE_DATA, &verdict))
    }

    /// The value of a rule's `EXPRESSIONS`.
    pub fn expressions(&self) -> &Attributes {
        &self.0
    }

    /// Compares what the routing tables say of an address with "of this host".
    fn address_type(self, of: u32, how: u32) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        let fib = Attributes::new().with_u32(1, REGISTER).with_u32(2, ADDRESS_TYPE).with_u32(3, of);
        let local = u32::from(libc::RTN_LOCAL);
        self.with("fib", &fib).compare(how, &data(&local.to_ne_bytes()))
    }

    fn meta(self, key: u32) -> Self {
        self.with("meta", &Attributes::new().with_u32(1, REGISTER).with_u32(2, key))
    }

    fn compare(self, how: u32, value: &Attributes) -> Self {
        self.with("cmp", &Attributes::new().with_u32(1, REGISTER).with_u32(2, how).with_nested(3, value))
    }

    fn with(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::new().with_text(rule::NAME, name).with_nested(rule::DATA, data);
        Self(self.0.with_nested(rule::ELEMENT, &expression))
    }
}

/// NFT_META_MARK and NFT_META_L4PROTO.
pub const META_MARK: u32 = 3;
const META_L4PROTO: u32 = 16;
/// NFT_CMP_EQ and NFT_CMP_NEQ.
const EQUAL: u32 = 0;
const DIFFERENT: u32 = 1;

/// A value to compare or compute with: NFTA_DATA_VALUE.
fn data(value: &[u8]) -> Attributes {
    Attributes::new().with(1, value)
}
