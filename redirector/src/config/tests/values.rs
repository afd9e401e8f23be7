//! Right values.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::settings;
use crate::{
    datapath::AttachMode,
    host::Movable,
    host::{NetfilterMode, PolicyRoutingSettings},
    logs,
    routes::{Limits, Origin},
    settings::{InterfaceGlobs, MetricsListen, Settings},
};

#[test]
fn a_file_that_says_nothing_leaves_the_defaults() {
    for text in
        ["version = 1", "version = 1\n", "\u{feff}version = 1\r\n", "# first\n\n  version=1 # second\n"]
    {
        let read = settings(text);
        assert_eq!(Settings { route_places: Default::default(), ..read }, Settings::default(), "{text:?}");
    }
}

#[test]
fn every_setting_is_read() {
    let read = settings(
        r#"
        version = 1
        interfaces = { include = ["eth0", "veth*"], exclude = ["veth9"] }
        on_exit = "detach"
        attach = "clsact"
        netfilter = "notrack"
        mark = 0x80000000
        table = 0x10
        rule_priority = 1_000
        protect = ["tcp/2222", "udp/53-54"]
        limits.routes = 1
        limits.prefixes = 2
        reconcile = "1m 30s"
        state_dir = "/var/lib/redirector"
        [limits]
        "#
        .replace(
            "[limits]",
            "limits.sources = 3\nlimits.proxies = 4\n[metrics]\nlisten = '[::1]:1'\n[events]\nper_second = 0\n[log]\nlevel = 'debug'\nformat = 'json'",
        )
        .as_str(),
    );
    let expected = Settings {
        interfaces: InterfaceGlobs {
            include: vec!["eth0".to_owned(), "veth*".to_owned()],
            exclude: vec!["veth9".to_owned()],
        },
        attach: AttachMode::Clsact,
        netfilter: NetfilterMode::Notrack,
        routing: PolicyRoutingSettings { mark: 0x8000_0000, table: 16, priority: 1000 },
        protect: ["tcp/2222", "udp/53-54"].map(|text| text.parse().expect("ports")).to_vec(),
        limits: Limits { routes: 1, prefixes: 2, sources: 3, proxies: 4 },
        reconcile: Duration::from_secs(90),
        events_per_second: 0,
        log: (logs::Level::Debug, logs::Format::Json),
        state_dir: Path::new("/var/lib/redirector").to_owned(),
        metrics_listen: MetricsListen::At(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 1))),
        ..Settings::default()
    };
    assert_eq!(Settings { route_places: Default::default(), ..read }, expected);
}

#[test]
fn metrics_are_served_at_any_loopback_address_or_not_at_all() {
    for (text, listen) in [
        ("off", MetricsListen::Off),
        ("127.0.0.2:80", MetricsListen::At(SocketAddr::from(([127, 0, 0, 2], 80)))),
    ] {
        assert_eq!(settings(&format!("version = 1\nmetrics.listen = '{text}'")).metrics_listen, listen);
    }
}

#[test]
fn numbers_that_may_move_begin_at_their_defaults() {
    let read = settings("version = 1\nmark = 'auto'\ntable = 7\nrule_priority = 'auto'");
    assert_eq!(read.routing, PolicyRoutingSettings { table: 7, ..PolicyRoutingSettings::default() });
    assert_eq!(read.movable, Movable { mark: true, table: false, rule_priority: true });
}

#[test]
fn a_route_is_the_same_as_its_text_on_the_command_line() {
    for (table, text) in [
        ("ports = [8080]\ntarget = { proxy = 15001 }", "8080=proxy:15001"),
        (
            "name = 'web'\nprotocol = 'tcp'\nports = ['8080-8089', 80]\ndestinations = ['10.96.0.0/12']\n\
             sources = ['10.244.1.0/24']\ntarget.proxy = 15001\non_unavailable = 'drop'",
            "web:tcp/10.96.0.0/12:80,8080-8089=proxy:15001 from 10.244.1.0/24 else drop",
        ),
        (
            "protocol = 'udp'\nports = [53]\ndestinations = ['fd00::1']\ntarget = 'drop'",
            "udp/[fd00::1]:53=drop",
        ),
        (
            "ports = ['22']\ndestinations = ['10.0.0.0/8', 'fd00::/8']\ntarget = 'pass'",
            "10.0.0.0/8,[fd00::/8]:22=pass",
        ),
        ("ports = [80]\ntarget = { proxy = '127.0.0.1:15001' }", "80=proxy:127.0.0.1:15001"),
        ("ports = [80]\ntarget = { proxy = '[::1]:15001' }", "80=proxy:[::1]:15001"),
        ("ports = [80]\ntarget = { proxy = ['[::1]:15001'] }", "80=proxy:[::1]:15001"),
        ("ports = [80]\ntarget = { proxy = ['127.0.0.1:15001', '[::1]:15001'] }", "80=proxy:15001"),
        ("ports = [80]\ntarget = { proxy = ['[fd00::1]:1', '10.0.0.1:1'] }", "80=proxy:10.0.0.1,[fd00::1]:1"),
        ("name = 'tcp/80'\nports = [80]\ntarget = 'drop'", "80=drop"),
        ("ports = [80, 80, '80-80']\nsources = []\ndestinations = []\ntarget = 'drop'", "80=drop"),
    ] {
        let read = settings(&format!("version = 1\n[[route]]\n{table}"));
        let expected = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.routes[&Origin::Files], [expected], "{table}");
        assert!(read.routes[&Origin::CommandLine].is_empty());
    }
}

#[test]
fn a_route_s_place_is_that_of_its_name_or_its_beginning() {
    let read = settings(
        "version = 1\n[[route]]\nports = [80]\ntarget = 'drop'\n  name = 'web'\n[[route]]\nports = [81]\ntarget = 'drop'",
    );
    let place = |name| read.route_places.find(Origin::Files, name).map(|place| (place.line, place.column));
    assert_eq!(place("web"), Some((5, 10)));
    assert_eq!(place("tcp/81"), Some((6, 1)));
    assert_eq!(place("other"), None);
    assert_eq!(read.route_places.find(Origin::CommandLine, "web"), None);
}
