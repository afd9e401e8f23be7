//! The target of a `[[route]]`.

use std::net::SocketAddr;

use toml::de::DeValue;

use super::{
    keys,
    reader::{Reader, Value},
};
use crate::routes::{NextHop, ProxyAddress, Target};

const TARGETS: &str = "\"pass\", \"drop\", { proxy = … } or { interface = … }";

impl Reader<'_> {
    /// Where a route's connections go.
    pub fn target(&mut self, value: &Value) -> Option<Target> {
        match value.get_ref() {
            DeValue::String(_) => match self.among(value, &["pass", "drop"], TARGETS)? {
                "pass" => Some(Target::Pass),
                _ => Some(Target::Drop),
            },
            DeValue::Table(table) => {
                let entries = self.entries(table, &keys::TARGET);
                if entries.len() < table.len() {
                    return None;
                }
                let get = |key| entries.iter().find(|entry| entry.key == key);
                match (get("proxy"), get("interface"), get("via")) {
                    (Some(proxy), None, None) => self.proxy(proxy.value).map(Target::Proxy),
                    (None, Some(name), via) => self.interface(name.value, via.map(|via| via.value)),
                    (Some(_), Some(second), _) => self.wrong(second.span, "a route has one target"),
                    (_, None, Some(via)) => self.wrong(via.span, "`via` stands beside `interface`"),
                    (None, None, None) => {
                        self.wrong(self.span(value), format!("a target is missing here: {TARGETS}"))
                    }
                }
            }
            _ => self.mistyped(value, TARGETS),
        }
    }

    fn interface(&mut self, name: &Value, via: Option<&Value>) -> Option<Target> {
        let name_read = self.string(name, "the name of an interface");
        let via = via.map(|via| self.address(via, "the address of a next hop"));
        let (interface, via) = (name_read?.to_owned(), via.map_or(Some(None), |via| via.map(Some))?);
        Some(Target::Interface(NextHop { interface, via }))
    }

    /// A port, an address and port, or a list with one of each family.
    fn proxy(&mut self, value: &Value) -> Option<ProxyAddress> {
        const EXPECTED: &str = "the proxy's port, its \"ADDRESS:PORT\", or a list with one of each family";
        match value.get_ref() {
            DeValue::Integer(_) => self.port(value, EXPECTED).map(ProxyAddress::loopback),
            DeValue::String(_) => {
                let listener = self.listener(value)?;
                Some(ProxyAddress::at(listener.ip(), listener.port()))
            }
            DeValue::Array(values) => {
                let read = self.list(value, EXPECTED, Self::listener)?;
                let mut all = values.iter().zip(read);
                let Some((_, first)) = all.next() else {
                    return self.wrong(self.span(value), "the proxy has no address");
                };
                let mut proxy = ProxyAddress::at(first.ip(), first.port());
                for (value, listener) in all {
                    let one = ProxyAddress::at(listener.ip(), listener.port());
                    if one.port != proxy.port {
                        let message =
                            format!("a proxy has one port: {} above, {} here", proxy.port, one.port);
                        return self.wrong(self.span(value), message);
                    }
                    if (proxy.v4.is_some() && one.v4.is_some()) || (proxy.v6.is_some() && one.v6.is_some()) {
                        let message = "a proxy has one address of each family at most";
                        return self.wrong(self.span(value), message);
                    }
                    (proxy.v4, proxy.v6) = (proxy.v4.or(one.v4), proxy.v6.or(one.v6));
                }
                Some(proxy)
            }
            _ => self.mistyped(value, EXPECTED),
        }
    }

    /// Where a proxy listens in one family.
    fn listener(&mut self, value: &Value) -> Option<SocketAddr> {
        const EXPECTED: &str = "an address and port such as \"127.0.0.1:15001\" or \"[::1]:15001\"";
        let text = self.string(value, EXPECTED)?;
        match text.parse::<SocketAddr>() {
            Ok(listener) if listener.ip().is_unspecified() => {
                let port = listener.port();
                let message = "a proxy that listens at every address is found by any of them: write proxy =";
                self.wrong(self.span(value), format!("{message} {port}"))
            }
            Ok(listener) if listener.port() != 0 => Some(listener),
            Ok(_) => self.wrong(self.span(value), "0 is not a port: ports are 1 to 65535"),
            Err(_) => self.wrong(self.span(value), format!("`{text}` is not {EXPECTED}")),
        }
    }
}
