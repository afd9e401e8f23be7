//! Addresses, and those that are never redirected.

use std::net::{Ipv4Addr, Ipv6Addr};

use redirector_common::{Address, Family};

#[test]
fn address_stands_in_memory_as_on_the_wire() {
    let bytes = |address: Address| address.words().map(u32::to_ne_bytes).concat();
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 2, 3, 4, 0xabcd).octets();
    assert_eq!(bytes(Address::v6(v6)), v6);
    assert_eq!(bytes(Address::v4([10, 1, 2, 3])), [10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Address::from_words(Address::v6(v6).words()), Address::v6(v6));
}

#[test]
fn addresses_of_this_link_or_host_are_never_redirected() {
    for (text, never) in [
        ("0.0.0.0", true),
        ("0.255.255.255", true),
        ("1.0.0.0", false),
        ("126.255.255.255", false),
        ("127.0.0.1", true),
        ("127.255.255.255", true),
        ("128.0.0.0", false),
        ("169.253.255.255", false),
        ("169.254.169.254", true),
        ("169.255.0.0", false),
        ("223.255.255.255", false),
        ("224.0.0.1", true),
        ("240.0.0.1", true),
        ("255.255.255.255", true),
        ("10.254.0.1", false),
    ] {
        let address = Address::v4(text.parse::<Ipv4Addr>().expect(text).octets());
        assert_eq!(address.never_redirected(Family::V4), never, "{text}");
    }
    for (text, never) in [
        ("::", true),
        ("::1", true),
        ("::ffff:10.0.0.1", true),
        ("64:ff9b::a00:1", false),
        ("0:0:1::", false),
        ("2001:db8::1", false),
        ("fd00::1", false),
        ("fe7f:ffff::1", false),
        ("fe80::1", true),
        ("febf:ffff::1", true),
        ("fec0::1", false),
        ("ff02::1", true),
    ] {
        let address = Address::v6(text.parse::<Ipv6Addr>().expect(text).octets());
        assert_eq!(address.never_redirected(Family::V6), never, "{text}");
    }
}
