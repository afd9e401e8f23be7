//! The parts of a route's text.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use redirector_common::{Protocol, entries::OnUnavailable};

use super::{NextHop, PortRange, ProxyAddress, RouteError, Target, check, display::plain};

/// Parts the protocol, TCP where none is written, from what follows it.
pub(super) fn protocol(text: &str) -> Result<(Protocol, &str), RouteError> {
    match text.split_once('/') {
        Some(("tcp", rest)) => Ok((Protocol::Tcp, rest)),
        Some(("udp", rest)) => Ok((Protocol::Udp, rest)),
        Some((word, _)) if word.starts_with(char::is_alphabetic) => {
            Err(RouteError::new(format!("`{word}` is not a protocol of routes: write tcp/ or udp/")))
        }
        _ => Ok((Protocol::Tcp, text)),
    }
}

/// A destination: a prefix, in brackets where it is IPv6.
pub(super) fn destination(text: &str) -> Result<IpNet, RouteError> {
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return match prefix(inside)? {
            v4 @ IpNet::V4(_) => {
                Err(RouteError::new(format!("only IPv6 stands in brackets: write {}", plain(&v4))))
            }
            v6 => Ok(v6),
        };
    }
    if text.contains(']') {
        return Err(RouteError::new(format!(
            "`{text}` is not a destination: the brackets stand around the length too, as in [fd00::/8]"
        )));
    }
    match prefix(text) {
        Ok(IpNet::V6(_)) => {
            Err(RouteError::new(format!("an IPv6 destination stands in brackets: write [{text}]")))
        }
        Err(_) if text.contains(':') => Err(RouteError::new(format!(
            "`{text}` is not a destination: IPv6 stands in brackets, as in [fd00::/8]"
        ))),
        other => other,
    }
}

/// Reads an address or a prefix: `10.0.0.0/8`, `fd00::1`.
///
/// # Errors
///
/// Neither, or a prefix that has bits beyond its length.
pub fn prefix(text: &str) -> Result<IpNet, RouteError> {
    let prefix = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) if text.is_empty() => return Err(RouteError::new("an IP prefix is missing here")),
        Err(_) => text.parse().map_err(|_| RouteError::new(format!("`{text}` is not an IP prefix")))?,
    };
    check::prefix(&prefix)?;
    Ok(prefix)
}

impl FromStr for PortRange {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        match text.split_once('-') {
            Some((first, last)) => Self::new(port(first)?, port(last)?),
            None => port(text).and_then(|port| Self::new(port, port)),
        }
    }
}

fn port(text: &str) -> Result<u16, RouteError> {
    if text.is_empty() {
        return Err(RouteError::new("a port is missing here"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let hint = if text.contains(['.', '[']) { ", and a destination is followed by `:PORTS`" } else { "" };
        return Err(RouteError::new(format!("`{text}` is not a port: ports are 1 to 65535{hint}")));
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(RouteError::new(format!("{text} is not a port: ports are 1 to 65535"))),
        Ok(port) => Ok(port),
    }
}

impl FromStr for Target {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        const TARGETS: &str = "proxy:PORT, proxy:ADDRESS:PORT, interface:NAME, pass or drop";
        let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
        match (word, rest) {
            ("proxy", Some(address)) => address.parse().map(Self::Proxy),
            ("interface", Some(name)) => {
                Ok(Self::Interface(NextHop { interface: name.to_owned(), via: None }))
            }
            ("pass", None) => Ok(Self::Pass),
            ("drop", None) => Ok(Self::Drop),
            ("", None) => Err(RouteError::new(format!("a target is missing here: {TARGETS}"))),
            ("backends", _) => {
                Err(RouteError::new(format!("this build does not have the target `{word}`: {TARGETS}")))
            }
            _ => Err(RouteError::new(format!("`{text}` is not a target: {TARGETS}"))),
        }
    }
}

/// Reads what stands behind `proxy:` in a route: `15001`, `10.0.0.1:15001`, `[fd00::1]:15001`, or an address
/// of each family and a port: `10.0.0.1,[fd00::1]:15001`.
impl FromStr for ProxyAddress {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let Some((addresses, number)) = text.rsplit_once(':') else {
            return port(text).map(Self::loopback);
        };
        let mut proxy = Self { v4: None, v6: None, port: port(number)? };
        for address in addresses.split(',') {
            let inside = address.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let earlier = match (inside.unwrap_or(address).parse(), inside) {
                (Ok(IpAddr::V4(v4)), None) => proxy.v4.replace(v4).is_some(),
                (Ok(IpAddr::V6(v6)), Some(_)) => proxy.v6.replace(v6).is_some(),
                (Ok(IpAddr::V6(v6)), None) => {
                    let message =
                        format!("the proxy's IPv6 address stands in brackets: write [{v6}]:{number}");
                    return Err(RouteError::new(message));
                }
                _ => return Err(RouteError::new(format!("`{address}` is not the address of a proxy"))),
            };
            if earlier {
                return Err(RouteError::new("a proxy has one address of each family at most"));
            }
        }
        Ok(proxy)
    }
}

/// Reads what stands behind `via`.
pub(super) fn via(text: &str) -> Result<IpAddr, RouteError> {
    text.parse().map_err(|_| RouteError::new(format!("`{text}` is not the address of a router")))
}

/// Reads what stands behind `else`.
pub(super) fn on_unavailable(text: &str) -> Result<OnUnavailable, RouteError> {
    match text {
        "pass" => Ok(OnUnavailable::Pass),
        "drop" => Ok(OnUnavailable::Drop),
        "reset" => Ok(OnUnavailable::Reset),
        _ => Err(RouteError::new(format!("`{text}` cannot stand after `else`: pass, drop or reset"))),
    }
}
