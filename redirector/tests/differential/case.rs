//! A case: routes and packets, as they are written into the file of those that once failed.

use std::{fmt, str::FromStr};

use redirector::routes::{Origin, Route};

use crate::reference::{Link, Packet};

/// How the host is, but for its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whether `sk_lookup` is attached.
    pub attached: bool,
    /// Whether the interface is a port of a bridge.
    pub bridge: bool,
    /// Whether a route names its own proxy's port.
    pub own_port: bool,
}

/// Packets, one after the other, and the host that they meet.
#[derive(Clone, Debug)]
pub struct Case {
    pub setting: Setting,
    pub routes: Vec<(Origin, Route)>,
    pub packets: Vec<Packet>,
}

const ORIGINS: [Origin; 5] =
    [Origin::CommandLine, Origin::Files, Origin::Api, Origin::Kubernetes, Origin::BuiltIn];

impl Case {
    /// The routes by origin, in the order in which they are published.
    pub fn sets(&self) -> Vec<(Origin, Vec<Route>)> {
        let of = |origin| self.routes.iter().filter(move |(of, _)| *of == origin);
        let set = |origin| (origin, of(origin).map(|(_, route)| route.clone()).collect());
        ORIGINS.map(set).into()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { attached, bridge, own_port } = self.setting;
        writeln!(f, "host attached={attached} bridge={bridge} own_port={own_port}")?;
        for (origin, route) in &self.routes {
            writeln!(f, "route {} {route}", origin.word())?;
        }
        for Packet { link, bytes, mark, gso_size } in &self.packets {
            writeln!(f, "packet {} mark={mark:#x} gso={gso_size} {}", link.program(), hex(bytes))?;
        }
        Ok(())
    }
}

/// Two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The cases of a file: blocks of such lines with an empty line between two. Lines that begin with `#` are for readers.
pub fn read(text: &str) -> Vec<Case> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let blocks = lines.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    blocks.map(|block| block.parse().unwrap_or_else(|error| panic!("{error} in\n{block}"))).collect()
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let setting = Setting { attached: true, bridge: false, own_port: false };
        let mut case = Self { setting, routes: Vec::new(), packets: Vec::new() };
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').ok_or("a line of one word")?;
            match kind {
                "host" => {
                    case.setting.attached = rest.contains("attached=true");
                    case.setting.own_port = rest.contains("own_port=true");
                    case.setting.bridge = rest.contains("bridge=true");
                }
                "route" => case.routes.push(route(rest)?),
                "packet" => case.packets.push(packet(rest).ok_or_else(|| format!("no packet: {rest}"))?),
                _ => return Err(format!("no such line: {line}")),
            }
        }
        Ok(case)
    }
}

fn route(text: &str) -> Result<(Origin, Route), String> {
    let (origin, route) = text.split_once(' ').ok_or("a route without an origin")?;
    let origin = ORIGINS.into_iter().find(|known| known.word() == origin).ok_or("no such origin")?;
    Ok((origin, route.parse().map_err(|error| format!("{error}"))?))
}

fn packet(text: &str) -> Option<Packet> {
    let words: Vec<&str> = text.split(' ').collect();
    let [program, mark, gso_size, hex] = words[..] else { return None };
    Some(Packet {
        link: Link::ALL.into_iter().find(|link| link.program() == program)?,
        mark: u32::from_str_radix(mark.strip_prefix("mark=0x")?, 16).ok()?,
        gso_size: gso_size.strip_prefix("gso=")?.parse().ok()?,
        bytes: hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect::<Option<_>>()?,
    })
}
