//! Valid texts, of which others are made, and words that mean something in them.

use std::{fs, path::Path};

use redirector::{config::write_routes, routes::Route};

const ROUTES: &[&str] = &[
    "8080=proxy:15001",
    "web:tcp/10.96.0.0/12:80,8080-8089=proxy:15001 from 10.244.1.0/24 else drop",
    "dns:udp/10.96.0.10:53=proxy:15053",
    "  443,80,80-80=drop\n",
    "10.0.0.1/32,[fd00::1/128],[fd00::/8],10.0.0.0/8:80=pass",
    "80=drop   from fd00::1/128,10.0.0.0/8",
    "tcp/0.0.0.0/0,[::/0]:80=pass",
    "80=proxy:[::1]:15001 else reset",
    "80=proxy:[fd00::1],10.0.0.1:15001",
    "1-65535=interface:eth0.10 via fd00::1 from 10.0.0.0/8 else drop",
    "a-1.b:udp/80=interface:veth7 via 10.0.0.1",
];

pub const ROUTE_WORDS: &[&str] = &[
    ":",
    "=",
    ",",
    "/",
    "-",
    "[",
    "]",
    "from ",
    " else ",
    " via ",
    "proxy:",
    "interface:",
    "pass",
    "drop",
    "reset",
    "tcp/",
    "udp/",
    "sctp/",
    "0",
    "1",
    "65535",
    "65536",
    "4294967296",
    "/33",
    "/129",
    "::",
    "::ffff:1.2.3.4",
    "%eth0",
    "127.0.0.1",
    " ",
    "\t",
    "\n",
    "\0",
    "é",
    "\u{202e}",
    "\u{1f980}",
    "\u{feff}",
    "00",
    "+1",
    "-1",
    "a.b",
    ".",
    "0x50",
];

pub const DOCUMENT_WORDS: &[&str] = &[
    "\n",
    "=",
    "[",
    "]",
    "[[route]]\n",
    "{",
    "}",
    "\"",
    "'",
    "'''",
    "\"\"\"",
    ",",
    ".",
    "-",
    ":",
    "0x",
    "_",
    "#",
    "\r\n",
    "\t",
    "\0",
    "é",
    "\u{feff}",
    "\u{1f980}",
    "version = 1\n",
    "\"version\": 1,",
    "version",
    "2",
    "name",
    "ports",
    "protocol",
    "destinations",
    "sources",
    "target",
    "on_unavailable",
    "proxy",
    "interface",
    "via",
    "\"udp\"",
    "\"pass\"",
    "\"drop\"",
    "\\u0000",
    "\\ud800",
    "\\",
    "1979-05-27",
    "nan",
    "null",
    "-1",
    "1e9",
    "1.5",
    "99999999999999999999",
    "true",
    "interfaces.",
    "a.b.c",
    "[[[[[[[[[",
    "{\"a\":",
    "include",
    "mark",
    "limits",
    "30s",
    "0s",
];

/// Texts of routes.
pub fn routes() -> Vec<Vec<u8>> {
    ROUTES.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Documents of routes, in both languages.
pub fn documents() -> Vec<Vec<u8>> {
    let routes: Vec<Route> = ROUTES.iter().map(|text| text.parse().expect("a route of the corpus")).collect();
    let mut documents = vec![write_routes(&routes).expect("write routes")];
    documents.extend(routes.iter().map(|route| write_routes([route]).expect("write a route")));
    documents.push(br#"{"version": 1, "routes": []}"#.to_vec());
    documents.extend(snippets("docs/api.md"));
    documents.push(
        b"version = 1\n[[route]]\nname = \"web\"\nports = [80, \"8080-8089\"]\ndestinations = [\"10.96.0.0/12\", \"fd00::/8\"]\n\
          target = { proxy = [\"127.0.0.1:15001\", \"[::1]:15001\"] }\non_unavailable = \"reset\"\n"
            .to_vec(),
    );
    documents
}

/// Documents of names.
pub fn names() -> Vec<Vec<u8>> {
    [
        &br#"{"version": 1, "names": ["web", "tcp/10.96.0.20:443", "a-1.b"]}"#[..],
        br#"{"version": 1, "names": []}"#,
        b"{\n  \"version\": 1,\n  \"names\": [\"x\"]\n}\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// Configuration files.
pub fn configurations() -> Vec<Vec<u8>> {
    let mut files = vec![fs::read(repository("docs/redirector.toml")).expect("read the example")];
    files.extend(snippets("docs/configuration.md"));
    files.push(
        b"version = 1\ninterfaces = { include = [\"eth0\", \"veth*\"], exclude = [\"docker0\"] }\n".to_vec(),
    );
    files.push(
        b"version = 1\non_exit = \"keep\"\nmark = 0x2000\nreconcile = \"30s\"\nprotect = [\"tcp/22\"]\n"
            .to_vec(),
    );
    files
}

/// The examples of a document, in whatever language.
fn snippets(document: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(repository(document)).expect("read a document");
    let blocks: Vec<_> = text.split("```").skip(1).step_by(2).collect();
    assert!(!blocks.is_empty(), "{document} has no examples");
    blocks.iter().filter_map(|block| Some(block.split_once('\n')?.1.as_bytes().to_vec())).collect()
}

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
