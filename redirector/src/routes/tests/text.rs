//! The text of a route: what is read, in which form it is written, and what is said of mistakes.

use redirector_common::{Protocol, entries::OnUnavailable};

use super::route;
use crate::routes::{PortRange, Protected, ProxyAddress, Route, Target};

#[test]
fn text_is_written_in_its_canonical_form() {
    for (text, canonical) in [
        ("8080=proxy:15001", "tcp/8080=proxy:15001"),
        (
            "web:tcp/10.96.0.0/12:80,8080-8089=proxy:15001 from 10.244.1.0/24 else drop",
            "web:tcp/10.96.0.0/12:80,8080-8089=proxy:15001 from 10.244.1.0/24 else drop",
        ),
        ("dns:udp/10.96.0.10:53=proxy:15053", "dns:udp/10.96.0.10:53=proxy:15053"),
        ("10.96.0.0/12:22=pass", "tcp/10.96.0.0/12:22=pass"),
        ("  443,80,80-80=drop\n", "tcp/80,443=drop"),
        ("90-99,80-89=drop", "tcp/80-89,90-99=drop"),
        (
            "10.0.0.1/32,[fd00::1/128],[fd00::/8],10.0.0.0/8:80=pass",
            "tcp/10.0.0.0/8,10.0.0.1,[fd00::/8],[fd00::1]:80=pass",
        ),
        ("80=drop   from fd00::1/128,10.0.0.0/8", "tcp/80=drop from 10.0.0.0/8,fd00::1"),
        ("[FD00:0::0]:80=pass", "tcp/[fd00::]:80=pass"),
        ("0.0.0.0/0,[::/0]:80=pass", "tcp/0.0.0.0/0,[::/0]:80=pass"),
        ("80=proxy:127.0.0.1:15001", "tcp/80=proxy:127.0.0.1:15001"),
        ("80=proxy:[::1]:15001 else pass", "tcp/80=proxy:[::1]:15001"),
        ("80=proxy:[::1],127.0.0.1:15001", "tcp/80=proxy:15001"),
        ("80=proxy:[fd00::1],10.0.0.1:15001", "tcp/80=proxy:10.0.0.1,[fd00::1]:15001"),
        ("1-65535=proxy:15001", "tcp/1-65535=proxy:15001"),
        ("80=interface:veth7 else reset", "tcp/80=interface:veth7 else reset"),
        (
            "80=interface:eth0.10   via  FD00:0::1 from 10.0.0.0/8 else drop",
            "tcp/80=interface:eth0.10 via fd00::1 from 10.0.0.0/8 else drop",
        ),
        ("a-1.b:tcp/80=pass", "a-1.b:tcp/80=pass"),
        ("tcp.80:80=pass", "tcp.80:tcp/80=pass"),
    ] {
        assert_eq!(route(text).to_string(), canonical);
        assert_eq!(route(canonical).to_string(), canonical);
        assert_eq!(route(canonical), route(text));
    }
}

#[test]
fn text_says_every_part() {
    let read =
        route("web:udp/10.0.0.0/8,[fd00::1]:80,90-99=proxy:15001 from 10.1.0.0/16,fd01::/16 else drop");
    let prefix = |text: &str| text.parse().expect("a prefix");
    assert_eq!(
        read,
        Route {
            name: "web".into(),
            protocol: Protocol::Udp,
            ports: vec![PortRange::new(80, 80).expect("a port"), PortRange::new(90, 99).expect("a range")],
            destinations: vec![prefix("10.0.0.0/8"), prefix("fd00::1/128")],
            sources: vec![prefix("10.1.0.0/16"), prefix("fd01::/16")],
            target: Target::Proxy(ProxyAddress::loopback(15001)),
            on_unavailable: OnUnavailable::Drop,
        }
    );
}

#[test]
fn route_without_name_is_called_by_its_match() {
    assert_eq!(route("10.96.0.20:443=drop").name, "tcp/10.96.0.20:443");
    assert_eq!(route("443,80=drop from 10.0.0.0/8").name, "tcp/80,443 from 10.0.0.0/8");
    assert_eq!(route("udp/[fd00::/8]:53=drop").name, "udp/[fd00::/8]:53");
}

/// A text that is refused, the message, and the part that the message is about.
const REFUSED: &[(&str, &str, &str)] = &[
    ("", "no `=` and target: what is to become of these connections?", ""),
    ("8080", "no `=` and target: what is to become of these connections?", ""),
    ("=pass", "a port is missing here", ""),
    ("80,=pass", "a port is missing here", ""),
    ("80-=pass", "a port is missing here", "80-"),
    ("0=pass", "0 is not a port: ports are 1 to 65535", "0"),
    ("80,0-9=pass", "0 is not a port: ports are 1 to 65535", "0-9"),
    ("65536=pass", "65536 is not a port: ports are 1 to 65535", "65536"),
    ("+80=pass", "`+80` is not a port: ports are 1 to 65535", "+80"),
    ("http=pass", "`http` is not a port: ports are 1 to 65535", "http"),
    ("90-80=pass", "the range ends before it begins: write 80-90", "90-80"),
    (
        "10.0.0.1=pass",
        "`10.0.0.1` is not a port: ports are 1 to 65535, and a destination is followed by `:PORTS`",
        "10.0.0.1",
    ),
    (
        "[fd00::1]=pass",
        "`[fd00::1]` is not a port: ports are 1 to 65535, and a destination is followed by `:PORTS`",
        "[fd00::1]",
    ),
    ("web: 80=pass", "` 80` is not a port: ports are 1 to 65535", " 80"),
    (
        "10.96.0.10/12:80=pass",
        "10.96.0.10/12 has bits beyond its length: write 10.96.0.0/12 or 10.96.0.10",
        "10.96.0.10/12",
    ),
    ("[fd00::1/8]:80=pass", "fd00::1/8 has bits beyond its length: write fd00::/8 or fd00::1", "[fd00::1/8]"),
    (
        "80=pass from 10.0.0.1/8",
        "10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8 or 10.0.0.1",
        "10.0.0.1/8",
    ),
    ("10.0.0.0/33:80=pass", "`10.0.0.0/33` is not an IP prefix", "10.0.0.0/33"),
    ("10.0.0.0/8,:80=pass", "an IP prefix is missing here", ""),
    ("[10.0.0.1]:80=pass", "only IPv6 stands in brackets: write 10.0.0.1", "[10.0.0.1]"),
    (
        "2001:db8::/32:80=pass",
        "an IPv6 destination stands in brackets: write [2001:db8::/32]",
        "2001:db8::/32",
    ),
    (
        "[fd00::]/8:80=pass",
        "`[fd00::]/8` is not a destination: the brackets stand around the length too, as in [fd00::/8]",
        "[fd00::]/8",
    ),
    ("fd00::1:80=pass", "`:1` is not a destination: IPv6 stands in brackets, as in [fd00::/8]", ":1"),
    (":80=pass", "`` is not a name: a name begins with a letter", ""),
    ("_x:80=pass", "`_x` is not a name: a name begins with a letter", "_x"),
    ("a_b:80=pass", "`a_b` is not a name: a name has only letters, digits, `-` and `.`", "a_b"),
    ("udp:53=pass", "`udp` is a protocol, not a name: write udp/", "udp"),
    ("sctp/80=pass", "`sctp` is not a protocol of routes: write tcp/ or udp/", "sctp/80"),
    ("80=", "a target is missing here: proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop", ""),
    (
        "80= from 10.0.0.0/8",
        "a target is missing here: proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop",
        "",
    ),
    (
        "80=reject",
        "`reject` is not a target: proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop",
        "reject",
    ),
    (
        "80=proxy",
        "`proxy` is not a target: proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop",
        "proxy",
    ),
    ("80=proxy:", "a port is missing here", "proxy:"),
    ("80=proxy:0", "0 is not a port: ports are 1 to 65535", "proxy:0"),
    (
        "80=proxy:::1:15001",
        "the proxy's IPv6 address stands in brackets: write [::1]:15001",
        "proxy:::1:15001",
    ),
    ("80=proxy:localhost:15001", "`localhost` is not the address of a proxy", "proxy:localhost:15001"),
    (
        "80=proxy:10.0.0.1,10.0.0.2:15001",
        "a proxy has one address of each family at most",
        "proxy:10.0.0.1,10.0.0.2:15001",
    ),
    ("80=interface:", "`` is not the name of an interface", "80=interface:"),
    (
        "80=interface",
        "`interface` is not a target: proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop",
        "interface",
    ),
    (
        "80=interface:an-interface-too-long",
        "`an-interface-too-long` is not the name of an interface",
        "80=interface:an-interface-too-long",
    ),
    (
        "80=interface:lo",
        "packets to the loopback device come to this host: write proxy:PORT for a proxy here",
        "80=interface:lo",
    ),
    ("80=interface:veth7 via", "`` is not the address of a router", ""),
    ("80=interface:veth7 via veth8", "`veth8` is not the address of a router", "veth8"),
    (
        "80=interface:veth7 via 224.0.0.1",
        "224.0.0.1 is not the address of a router",
        "80=interface:veth7 via 224.0.0.1",
    ),
    (
        "80=proxy:1 via 10.0.0.1",
        "`via` is not expected here: `from` and `else` come last, in this order",
        "via",
    ),
    (
        "[fd00::/8]:80=interface:veth7 via 10.0.0.1",
        "fd00::/8 can never match: the router has no IPv6 address",
        "[fd00::/8]:80=interface:veth7 via 10.0.0.1",
    ),
    (
        "80=backends:10.0.0.1:80",
        "this build does not have the target `backends`: proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop",
        "backends:10.0.0.1:80",
    ),
    ("80=pass from", "an IP prefix is missing here", ""),
    ("80=pass from 10.0.0.0/8, 11.0.0.0/8", "an IP prefix is missing here", ""),
    ("80=proxy:1 else", "`` cannot stand after `else`: pass, drop or reset", ""),
    ("80=proxy:1 else refuse", "`refuse` cannot stand after `else`: pass, drop or reset", "refuse"),
    (
        "80=proxy:1 else drop from 10.0.0.0/8",
        "`from` is not expected here: `from` and `else` come last, in this order",
        "from",
    ),
    ("80=proxy:1 drop", "`drop` is not expected here: `from` and `else` come last, in this order", "drop"),
    // What is wrong with the route as a whole is about the whole text.
    ("80=pass else drop", "`pass` is always available: leave `else` out", "80=pass else drop"),
    (
        "80=proxy:0.0.0.0:1",
        "a proxy that listens at every address is found by any of them: write proxy:1",
        "80=proxy:0.0.0.0:1",
    ),
    (
        "15001=proxy:15001",
        "15001 is the proxy's own port: connections to the proxy itself would be led back to it",
        "15001=proxy:15001",
    ),
    (
        "10.0.0.0/8:80=pass from fd00::/8",
        "10.0.0.0/8 can never match: every source is IPv6",
        "10.0.0.0/8:80=pass from fd00::/8",
    ),
    (
        "10.0.0.0/8:80=pass from 10.0.0.0/8,fd00::/8",
        "fd00::/8 can never match: every destination is IPv4",
        "10.0.0.0/8:80=pass from 10.0.0.0/8,fd00::/8",
    ),
    (
        "10.0.0.0/8:80=proxy:[::1]:15001",
        "10.0.0.0/8 can never match: the proxy has no IPv4 address",
        "10.0.0.0/8:80=proxy:[::1]:15001",
    ),
    (
        "80=proxy:127.0.0.1:15001 from fd00::/8",
        "fd00::/8 can never match: the proxy has no IPv6 address",
        "80=proxy:127.0.0.1:15001 from fd00::/8",
    ),
];

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, message, part) in REFUSED {
        let error = text.parse::<Route>().expect_err(text);
        assert_eq!(error.message(), *message, "{text}");
        let column = error.column().expect("a column");
        let rest: String = text.chars().skip(column - 1).collect();
        assert!(rest.starts_with(part), "{text}: column {column}");
        let carets = error.to_string().lines().nth(2).expect("a line of carets").trim().len();
        assert_eq!(carets, part.len().max(1), "{text}");
    }
}

#[test]
fn error_shows_the_text_the_place_and_the_grammar() {
    let error = "wéb:80=pass".parse::<Route>().expect_err("a bad name");
    assert_eq!(
        error.to_string(),
        "`wéb` is not a name: a name has only letters, digits, `-` and `.`\n  wéb:80=pass\n  ^^^\n  a route is [NAME:][tcp/|udp/][DEST{,DEST}:]PORTS=TARGET[ from PREFIX{,PREFIX}][ else pass|drop|reset]"
    );
    let error = "web:10.96.0.0/12:80,0=pass".parse::<Route>().expect_err("a bad port");
    assert_eq!(error.to_string().lines().nth(2), Some("                      ^"));
}

#[test]
fn name_has_at_most_63_characters() {
    let text = |length| format!("{}:80=pass", "n".repeat(length));
    assert!(text(63).parse::<Route>().is_ok());
    let error = text(64).parse::<Route>().expect_err("too long");
    assert!(error.message().ends_with("a name has at most 63 characters"));
}

#[test]
fn protected_ports_are_written_with_their_protocol_or_without() {
    let protected = |text: &str| {
        text.parse::<Protected>().map(|Protected { protocol, ports }| (protocol, ports.first(), ports.last()))
    };
    assert_eq!(protected("tcp/22"), Ok((Protocol::Tcp, 22, 22)));
    assert_eq!(protected("udp/53-54"), Ok((Protocol::Udp, 53, 54)));
    assert_eq!(protected("22"), Ok((Protocol::Tcp, 22, 22)));
    assert_eq!(
        protected("ssh").expect_err("no port").to_string(),
        "`ssh` is not a port: ports are 1 to 65535"
    );
}
