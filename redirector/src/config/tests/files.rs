//! Which files are read, and what they may not say together.

use std::{fs, os::unix::fs::symlink};

use super::{Directory, complaint, read};
use crate::{
    config::read_at,
    failure::{Exit, Failure},
    routes::Origin,
    settings::Settings,
};

#[test]
fn files_of_conf_d_add_settings_and_routes_in_the_order_of_their_names() {
    let directory = Directory::new();
    let main =
        directory.write("main.toml", "version = 1\nmark = 0x4000\n[[route]]\nports = [1]\ntarget = 'drop'");
    directory.write("conf.d/20.toml", "version = 1\n[[route]]\nports = [3]\ntarget = 'drop'");
    directory.write("conf.d/10.toml", "version = 1\ntable = 7\n[[route]]\nports = [2]\ntarget = 'drop'");
    for ignored in [
        "conf.d/.hidden.toml",
        "conf.d/30.toml.bak",
        "conf.d/README",
        "conf.d/directory.toml/x",
        "other.toml",
    ] {
        directory.write(ignored, "this is not TOML");
    }
    let settings = read(Some(&main)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((settings.routing.mark, settings.routing.table), (0x4000, 7));
    let names: Vec<_> = settings.routes[&Origin::Files].iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["tcp/1", "tcp/2", "tcp/3"]);
}

#[test]
fn a_mounted_config_map_is_read_once() {
    let directory = Directory::new();
    let main = directory.write("redirector.toml", "version = 1");
    let route = "version = 1\n[[route]]\nname = 'web'\nports = [80]\ntarget = 'drop'";
    directory.write("conf.d/..2026_11_26_10_00_00.1/web.toml", route);
    symlink("..2026_11_26_10_00_00.1", directory.path("conf.d/..data")).expect("link");
    symlink("..data/web.toml", directory.path("conf.d/web.toml")).expect("link");
    let settings = read(Some(&main)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.routes[&Origin::Files].len(), 1);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let directory = Directory::new();
    let errors = read(Some(&directory.path("none.toml"))).expect_err("it is not there");
    assert_eq!(
        directory.said(&errors),
        "the configuration has 1 error\nread none.toml: No such file or directory (os error 2)"
    );
    assert_eq!(Failure::from(errors).exit, Exit::NotFound);
    let errors = read(Some(&directory.0)).expect_err("it is a directory");
    assert_eq!(Failure::from(errors).exit, Exit::Invalid);
}

#[test]
fn the_default_file_need_not_be_there() {
    let directory = Directory::new();
    let main = directory.path("redirector.toml");
    let settings = read_at(&main, false).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings, Settings::default());
    directory.write("conf.d/a.toml", "version = 1\ntable = 7");
    let settings = read_at(&main, false).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.routing.table, 7, "what is beside it counts");
}

#[test]
fn a_link_that_leads_nowhere_is_refused() {
    let directory = Directory::new();
    let main = directory.write("main.toml", "version = 1");
    fs::create_dir(directory.path("conf.d")).expect("make a directory");
    symlink("nowhere", directory.path("conf.d/web.toml")).expect("link");
    let said = directory.said(&read(Some(&main)).expect_err("the link leads nowhere"));
    assert!(said.contains("read conf.d/web.toml: No such file"), "{said}");
}

#[test]
fn what_two_files_say_is_refused_with_both_places() {
    let directory = Directory::new();
    let main = directory.write(
        "main.toml",
        "version = 1\nmark = 0x4000\nlimits = { routes = 1 }\n[[route]]\nname = 'web'\nports = [1]\ntarget = 'drop'",
    );
    directory.write(
        "conf.d/a.toml",
        "version = 1\nmark = 0x4000\nlimits = { routes = 1, proxies = 2 }\n[[route]]\nname = 'web'\nports = [2]\ntarget = 'drop'",
    );
    let errors = read(Some(&main)).expect_err("both set the same");
    assert_eq!(
        directory.said(&errors),
        "the configuration has 3 errors
conf.d/a.toml:2:1: `mark` is set in two files
  mark = 0x4000
  ^^^^
  and at main.toml:2:1
  mark = 0x4000
  ^^^^
conf.d/a.toml:3:12: `limits.routes` is set in two files
  limits = { routes = 1, proxies = 2 }
             ^^^^^^
  and at main.toml:3:12
  limits = { routes = 1 }
             ^^^^^^
conf.d/a.toml:5:8: there are two routes of the name `web`
  name = 'web'
         ^^^^^
  and at main.toml:5:8
  name = 'web'
         ^^^^^"
    );
    assert_eq!(Failure::from(errors).exit, Exit::Invalid);
}

#[test]
fn errors_of_all_files_are_said_at_once() {
    let directory = Directory::new();
    let main = directory.write("main.toml", "version = 1\nmark = 3\n");
    directory.write("conf.d/a.toml", "version = 1\nmark = \n");
    directory.write("conf.d/b.toml", "");
    let said = directory.said(&read(Some(&main)).expect_err("all are wrong"));
    let places: Vec<_> = said.lines().filter(|line| line.contains(".toml:")).collect();
    assert_eq!(
        places,
        [
            "main.toml:2:8: 0x3 is not one bit: a mark is 0x1, 0x2, 0x4 … 0x80000000",
            "conf.d/a.toml:2:8: a value is missing here",
            "conf.d/b.toml:1:1: the file does not say `version = 1`",
        ]
    );
}

#[test]
fn a_file_that_is_too_long_is_refused_unread() {
    let said = complaint("#".repeat((16 << 20) + 1));
    assert_eq!(said, "the configuration has 1 error\nread a.toml: longer than 16 MiB");
}

#[test]
fn a_thousand_errors_are_shown_and_the_others_counted() {
    let wrong: String = (0..1500).map(|n| format!("x{n} = 1\n")).collect();
    let said = complaint(format!("version = 1\n{wrong}"));
    assert!(said.starts_with("the configuration has 1500 errors\n"), "{}", &said[..80]);
    assert!(said.ends_with("\nand 500 more"), "{}", &said[said.len() - 80..]);
}
