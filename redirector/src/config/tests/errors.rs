//! What is said of wrong files.

use super::complaint;
use crate::{
    config,
    routes::{self, Limits, Origin},
};

#[test]
fn each_error_has_its_place_and_what_to_write() {
    let said = complaint(
        r#"version = 1
interfaces = { include = ["eth0", "veth["], exlude = ["docker0"] }
on_exit = "keep"
attach = "tcxx"
events = 7
reconcile = "1ms"
[[route]]
name = "9web"
ports = [80, "8080-8089", 0, "9-8", 1.5]
destinations = ["10.96.0.1/12", "fd00::/8", "x"]
target = { proxy = ["127.0.0.1:15001", "127.0.0.2:15001"] }
on_unavailable = "reset"
[[route]]
prots = [80]
target = { proxy = 15001, interface = "veth7" }
[[route]]
target = { interface = "veth7", via = "10.0.0.1" }
"#,
    );
    assert_eq!(
        said,
        r#"the configuration has 16 errors
a.toml:2:35: `veth[` is not the name or a glob of an interface: Pattern syntax error near position 4: invalid range pattern
  interfaces = { include = ["eth0", "veth["], exlude = ["docker0"] }
                                    ^^^^^^^
a.toml:2:45: `exlude` is not a key of `interfaces`: did you mean `exclude`?
  interfaces = { include = ["eth0", "veth["], exlude = ["docker0"] }
                                              ^^^^^^
a.toml:3:11: `keep` is not supported yet: write "detach"
  on_exit = "keep"
            ^^^^^^
a.toml:4:10: expected "auto" or "tcx" or "clsact", found "tcxx": did you mean "tcx"?
  attach = "tcxx"
           ^^^^^^
a.toml:5:10: expected a table with per_second, found a number
  events = 7
           ^
a.toml:6:13: `1ms` is not between "1s" and "1d"
  reconcile = "1ms"
              ^^^^^
a.toml:8:8: `9web` is not a name: a name begins with a letter
  name = "9web"
         ^^^^^^
a.toml:9:27: 0 is not a port: ports are 1 to 65535
  ports = [80, "8080-8089", 0, "9-8", 1.5]
                            ^
a.toml:9:30: the range ends before it begins: write 8-9
  ports = [80, "8080-8089", 0, "9-8", 1.5]
                               ^^^^^
a.toml:9:37: expected a port or a range such as "8080-8089", found a number with a fraction
  ports = [80, "8080-8089", 0, "9-8", 1.5]
                                      ^^^
a.toml:10:17: 10.96.0.1/12 has bits beyond its length: write 10.96.0.0/12 or 10.96.0.1
  destinations = ["10.96.0.1/12", "fd00::/8", "x"]
                  ^^^^^^^^^^^^^^
a.toml:10:45: `x` is not an IP prefix
  destinations = ["10.96.0.1/12", "fd00::/8", "x"]
                                              ^^^
a.toml:11:40: a proxy has one address of each family at most
  target = { proxy = ["127.0.0.1:15001", "127.0.0.2:15001"] }
                                         ^^^^^^^^^^^^^^^^^
a.toml:14:1: `prots` is not a key of [[route]]: did you mean `ports`?
  prots = [80]
  ^^^^^
a.toml:15:27: a route has one target
  target = { proxy = 15001, interface = "veth7" }
                            ^^^^^^^^^
a.toml:16:1: the route has no `ports`
  [[route]]
  ^^^^^^^^^"#
    );
}

#[test]
fn a_wrong_value_says_what_was_expected() {
    for (line, message) in [
        ("mark = 0", "0x0 is not one bit"),
        ("mark = 0x100000000", "0x100000000 is not one bit"),
        ("mark = 'aut'", "expected a number or \"auto\", found a string"),
        ("mark = 99999999999999999999", "found 99999999999999999999"),
        ("mark = -1", "is not one bit"),
        ("mark = 0x", "found 0x"),
        ("table = 254", "the kernel's own"),
        ("table = 0", "0 is not a routing table"),
        ("rule_priority = 32764", "1 to 32763"),
        ("rule_priority = 1.0", "found a number with a fraction"),
        ("protect = 'tcp/22'", "expected a list of ports"),
        ("protect = ['sctp/22']", "`sctp` is not a protocol"),
        ("limits = { routes = 0 }", "0 is not a limit: 1 to 16777216"),
        ("limits.routes = -1", "-1 is not a limit"),
        ("events.per_second = true", "found true or false"),
        ("reconcile = 30", "expected a duration such as \"30s\", found a number"),
        ("reconcile = '30 parsecs'", "unknown time unit"),
        ("state_dir = 'run'", "not an absolute path"),
        ("metrics.listen = 'localhost:9464'", "is not an address and port"),
        ("metrics.listen = '0.0.0.0:9464'", "is not of the loopback device"),
        ("metrics.listen = '[2001:db8::1]:9464'", "would be asked by other hosts too"),
        ("metrics.listen = '127.0.0.1:0'", "is without a port"),
        ("metrics.listen = 1979-05-27", "found a date or time"),
        ("netfilter = ['auto']", "found a list"),
        ("interfaces = ['eth0']", "expected a table with include, exclude, found a list"),
        ("route = 1", "expected a list of tables"),
        ("[route]\nports = [80]", "expected a list of tables, each after [[route]], found a table"),
        ("route = [1]", "expected a table, after [[route]], found a number"),
        ("routes = []", "did you mean `route`?"),
        ("backend = 1", "`backend` is not a setting: there are version, "),
        ("version = 1", "`version` stands here twice"),
    ] {
        let said = complaint(format!("version = 1\n{line}\n"));
        assert!(said.contains(message), "{line}: {said}");
        assert!(said.contains("a.toml:2:"), "{line}: {said}");
    }
}

#[test]
fn a_wrong_route_says_which_part_it_is() {
    for (route, place, message) in [
        ("ports = [80]\ntarget = 'pas'", "4:10", "{ interface = … }, found \"pas\": did you mean \"pass\"?"),
        ("ports = [80]\ntarget = {}", "4:10", "a target is missing here"),
        ("ports = [80]\ntarget = { proxy = 0 }", "4:20", "0 is not a port"),
        ("ports = [80]\ntarget = { proxy = '127.0.0.1' }", "4:20", "is not an address and port"),
        ("ports = [80]\ntarget = { proxy = '0.0.0.0:15001' }", "4:20", "write proxy = 15001"),
        ("ports = [80]\ntarget = { proxy = [] }", "4:20", "the proxy has no address"),
        (
            "ports = [80]\ntarget = { proxy = ['127.0.0.1:1', '[::1]:2'] }",
            "4:36",
            "a proxy has one port: 1 above, 2 here",
        ),
        ("ports = [80]\ntarget = { prxy = 1 }", "4:12", "did you mean `proxy`?"),
        ("ports = [80]\ntarget = { via = '10.0.0.1' }", "4:12", "`via` stands beside `interface`"),
        ("ports = [80]\ntarget = 'drop'\non_unavailable = 'drop'", "5:18", "leave `on_unavailable` out"),
        ("ports = []\ntarget = 'drop'", "3:9", "names no ports"),
        ("ports = [80]", "2:1", "the route has no `target`"),
        ("ports = [1, 65536]\ntarget = 'drop'", "3:13", "65536 is not a port"),
        ("ports = [15001]\ntarget = { proxy = 15001 }", "3:9", "15001 is the proxy's own port"),
        (
            "ports = [80]\nsources = ['fd00::/8', '10.0.0.0/8']\ntarget = { proxy = '[::1]:15001' }",
            "4:24",
            "10.0.0.0/8 can never match: the proxy has no IPv4 address",
        ),
        ("name = 'tcp/81'\nports = [80]\ntarget = 'drop'", "3:8", "`tcp/81` is not a name"),
        ("name = ''\nports = [80]\ntarget = 'drop'", "3:8", "is not a name"),
        ("name = 'udp'\nports = [80]\ntarget = 'drop'", "3:8", "`udp` is a protocol, not a name"),
    ] {
        let said = complaint(format!("version = 1\n[[route]]\n{route}\n"));
        assert!(said.contains(message), "{route}: {said}");
        assert!(
            said.starts_with(&format!("the configuration has 1 error\na.toml:{place}: ")),
            "{route}: {said}"
        );
    }
}

#[test]
fn what_is_not_toml_is_said_with_what_else_is_wrong() {
    assert_eq!(
        complaint("version = 1\r\nmark = \r\ntable = @@\r\nrouts = 1\r\nprotect = [\"tcp/22\",\r\n"),
        "the configuration has 4 errors
a.toml:2:8: a value is missing here
  mark = 
         ^
a.toml:3:9: `@@` is no value: a string stands in quotation marks
  table = @@
          ^^
a.toml:4:1: `routs` is not a setting: did you mean `route`?
  routs = 1
  ^^^^^
a.toml:5:21: not TOML: unclosed array, expected `]`
  protect = [\"tcp/22\",
                      ^"
    );
}

#[test]
fn a_file_that_is_empty_binary_or_of_another_version_is_refused() {
    for (content, message) in [
        (&b""[..], "a.toml:1:1: the file does not say `version = 1`"),
        (b"\n\n", "a.toml:1:1: the file does not say `version = 1`"),
        (b"version = 1\n# \xff\xfe", "a.toml:2:3: this is not text: the file is not UTF-8"),
        (b"version = 2\nwhatever = 1", "a.toml:1:11: this build reads version 1, not 2"),
        (b"version = \"1\"", "a.toml:1:11: expected the number 1, found a string"),
        (b"version = 1\nx = \"\x00\"", "a.toml:2:"),
        (b"version = 1\rmark = 1", "a.toml:1:"),
    ] {
        let said = complaint(content);
        assert!(said.contains(message), "{}: {said}", content.escape_ascii());
    }
    let said = complaint(b"version = 2\nwhatever = 1");
    assert!(said.starts_with("the configuration has 1 error\n"), "what a version means is its own: {said}");
}

#[test]
fn nesting_without_end_is_refused() {
    for text in [
        "[".repeat(100_000),
        format!("x = {}", "[".repeat(100_000)),
        format!("{}x = 1", "x.".repeat(100_000)),
    ] {
        let said = complaint(format!("version = 1\n{text}"));
        let refused = ["more than 80 brackets or dots deep", "keys cannot be empty"];
        assert!(refused.iter().any(|why| said.contains(why)), "{said}");
    }
}

#[test]
fn what_is_shown_of_a_file_is_short_and_leaves_the_terminal_alone() {
    let long = "x".repeat(1 << 20);
    for text in [
        format!("version = 1\n\"\\u001b[2J{long}\" = 1"),
        format!("version = 1 #{long}\u{1b}[2J\nx = '{long}'"),
    ] {
        let said = complaint(text);
        assert!(said.len() < 2000, "{} bytes", said.len());
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let said = complaint(format!("version = 1\nx = [{} ] y\n", "1, ".repeat(100)));
    let place = said.lines().nth(1).unwrap_or_default();
    assert!(place.starts_with("a.toml:2:309: "), "{said}");
    let shown = said.lines().nth(2).unwrap_or_default();
    assert!(shown.starts_with("  …1, 1, ") && shown.ends_with("] y"), "{said}");
}

#[test]
fn routes_that_tie_are_shown_where_they_stand() {
    let directory = super::Directory::new();
    let main =
        directory.write("a.toml", "version = 1\n[[route]]\nname = 'web'\nports = [80]\ntarget = 'drop'");
    directory
        .write("conf.d/b.toml", "version = 1\n[[route]]\nports = ['80-80']\ntarget = 'pass'\nname = 'other'");
    let settings = config::read(Some(&main)).unwrap_or_else(|errors| panic!("{errors}"));
    let refusals = routes::compile(&settings.routes, &Limits::default()).expect_err("nothing decides");
    let said: Vec<_> = refusals.iter().map(|refusal| settings.route_places.explain(refusal)).collect();
    assert_eq!(
        said.join("\n").replace(&format!("{}/", directory.0.display()), ""),
        "routes web and other (files) both match tcp/80, and neither is more specific there
a.toml:3:8: route web
  name = 'web'
         ^^^^^
conf.d/b.toml:5:8: route other
  name = 'other'
         ^^^^^^^"
    );
    assert!(settings.route_places.find(Origin::Files, "web").is_some());
}
