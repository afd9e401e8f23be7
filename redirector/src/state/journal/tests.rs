//! What is in the journal after changes, kills and failures.

use std::os::unix::fs::MetadataExt as _;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    routes::random_route,
    state::{State, tests::Directory},
};

fn routes(texts: &[&str]) -> Vec<Route> {
    texts.iter().map(|text| text.parse().expect("a route")).collect()
}

fn load(directory: &Directory) -> Loaded {
    State::open(&directory.0).expect("open").journal.load().expect("load")
}

#[test]
fn what_is_added_is_loaded_and_nobody_else_may_read_it() {
    let directory = Directory::new("added");
    let mut state = State::open(&directory.0).expect("make it");
    assert_eq!(state.journal.load().expect("load"), Loaded::default());
    let [other, pass, web] =
        ["9000-9100=interface:eth1 via fe80::1", "22=pass", "web:10.0.0.0/8:80=proxy:15001 else reset"]
            .map(|text| routes(&[text]).remove(0));
    let changes: [(&[&str], &[&Route], &[&Route]); 4] = [
        (&[], &[&web, &pass], &[&pass, &web]),
        (&["web"], &[&other], &[&pass, &other]),
        (&[], &[&web], &[&pass, &other, &web]),
        (&["web", "tcp/22", "tcp/9000-9100"], &[], &[]),
    ];
    for (removed, added, wanted) in changes {
        state.journal.append(removed.iter().copied(), added.iter().copied()).expect("add");
        let mut again = Journal::new(&directory.0);
        let wanted: Vec<Route> = wanted.iter().map(|route| (*route).clone()).collect();
        assert_eq!(again.load().expect("load"), Loaded { routes: wanted, warning: None });
    }
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!([mode(&directory.0), mode(&directory.0.join(NAME))], [0o755, 0o600]);
    assert_eq!(fs::read_dir(&directory.0).expect("read").count(), 1, "nothing else is left");
}

/// A change: names that go, and routes that come.
fn change() -> impl Strategy<Value = (Vec<u8>, Vec<(u8, Route)>)> {
    (vec(0..6_u8, 0..3), vec((0..6_u8, random_route()), 0..3))
}

proptest! {
    #[test]
    fn a_kill_at_any_byte_leaves_what_was_confirmed_by_then(
        changes in vec(change(), 1..6),
        compacted in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = Directory::new("killed");
        let mut state = State::open(&directory.0).expect("make it");
        let journal = &mut state.journal;
        let mut routes = BTreeMap::new();
        // Where a kill leaves the file: from here on.
        let mut whole = 0;
        let mut confirmed = Vec::new();
        for (number, (removed, added)) in changes.iter().enumerate() {
            let removed: Vec<String> = removed.iter().map(|name| format!("r{name}")).collect();
            let added: Vec<Route> =
                added.iter().map(|(name, route)| Route { name: format!("r{name}"), ..route.clone() }).collect();
            if number == compacted.index(changes.len()) {
                journal.write_anew(routes.values()).expect("compact");
                whole = journal.length;
                confirmed = vec![(whole, routes.clone())];
            }
            journal.append(removed.iter().map(String::as_str), &added).expect("add");
            removed.iter().for_each(|name| drop(routes.remove(name)));
            routes.extend(added.into_iter().map(|route| (route.name.clone(), route)));
            confirmed.push((journal.length, routes.clone()));
        }
        drop(state);
        let path = directory.0.join(NAME);
        let text = fs::read(&path).expect("read");
        let end = whole as usize + cut.index(text.len() - whole as usize + 1);
        fs::write(&path, &text[..end]).expect("cut");
        let (length, wanted) = confirmed.iter().rfind(|(length, _)| *length <= end as u64).expect("the first");

        let mut state = State::open(&directory.0).expect("open");
        let loaded = state.journal.load().expect("load");
        prop_assert_eq!(&loaded.routes, &wanted.values().cloned().collect::<Vec<_>>());
        prop_assert_eq!(loaded.warning.is_some(), *length < end as u64, "{:?}", loaded.warning);
        // What is added now follows what was loaded.
        state.journal.append(["r0"], []).expect("add");
        drop(state);
        let mut wanted = wanted.clone();
        wanted.remove("r0");
        prop_assert_eq!(load(&directory), Loaded { routes: wanted.into_values().collect(), warning: None });
    }
}

#[test]
fn a_damaged_file_is_put_aside_and_said() {
    let directory = Directory::new("damaged");
    let state = State::open(&directory.0).expect("make it");
    let path = directory.0.join(NAME);
    for text in [
        "",
        "redirector routes 1\n",
        "redirector routes 2\n.\n",
        "redirector routes 1\n+web:80=proxy\n.\n",
        "redirector routes 1\n80=drop\n.\n",
        "redirector routes 1\n+web:80=drop\n.\n\0\n.\n",
    ] {
        fs::write(&path, text).expect("write");
        let loaded = Journal::new(&directory.0).load().expect("load");
        assert_eq!(loaded.routes, [], "of {text:?}");
        assert!(loaded.warning.expect("it is said").contains("api-routes.journal.bad"));
        let bad = fs::read_to_string(directory.0.join("api-routes.journal.bad")).expect("read");
        assert_eq!(bad, text);
        assert!(!path.exists());
    }
    drop(state);
}

#[test]
fn a_change_that_cannot_be_written_leaves_those_before() {
    let directory = Directory::new("full");
    let mut state = State::open(&directory.0).expect("make it");
    let [web, other] = ["web:80=proxy:15001", "other:81=drop"].map(|text| routes(&[text]).remove(0));
    state.journal.append([], [&web]).expect("add");
    // Where every write fails for want of room, whoever writes.
    let real = state.journal.file.replace(File::options().write(true).open("/dev/full").expect("open"));
    let error = format!("{:#}", state.journal.append(["web"], [&other]).expect_err("it is full"));
    assert!(error.contains("keep the API's routes in"), "{error}");
    state.journal.file = real;
    assert_eq!(Journal::new(&directory.0).load().expect("load").routes, std::slice::from_ref(&web));
    state.journal.append([], [&other]).expect("there is room again");
    state.journal.take_back().expect("take it back");
    assert_eq!(Journal::new(&directory.0).load().expect("load"), Loaded { routes: vec![web], warning: None });
}

#[test]
fn a_first_file_that_cannot_be_made_is_an_error() {
    let directory = Directory::new("unmade");
    let mut state = State::open(&directory.0).expect("make it");
    // Root may write everywhere but over a directory.
    fs::create_dir(directory.0.join(format!(".{NAME}.new"))).expect("make a directory");
    let error =
        format!("{:#}", state.journal.append([], &routes(&["80=drop"])).expect_err("it cannot be made"));
    assert!(error.contains("keep the API's routes in"), "{error}");
    assert_eq!(state.journal.load().expect("load"), Loaded::default());
}

#[test]
fn a_journal_that_has_outgrown_its_routes_is_written_anew() {
    let directory = Directory::new("outgrown");
    let mut state = State::open(&directory.0).expect("make it");
    let web = routes(&["web:80=proxy:15001"]);
    let length = || fs::metadata(directory.0.join(NAME)).expect("it is there").len();
    state.journal.append([], std::iter::repeat_n(&web[0], LINES)).expect("add");
    let before = length();
    state.journal.compact(1, &web).expect("leave it");
    assert_eq!(length(), before, "it has not grown enough");
    state.journal.append(["gone"], &web).expect("add");
    state.journal.compact(1, &web).expect("compact");
    assert_eq!(length(), 46);
    state.journal.append(["web"], &web).expect("add");
    drop(state);
    assert_eq!(load(&directory), Loaded { routes: web, warning: None });
}
