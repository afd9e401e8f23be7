//! What requests do.

use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use hyper::Method;
use serde_json::json;

use super::{Stage, impatient, route};
use crate::{agent::command::fake::Fake, api::SOCKET, failure::Exit, state::State};

#[test]
fn routes_are_added_listed_replaced_and_removed() {
    let stage = Stage::new();
    let changed = stage.expect(200, Method::POST, "/v1/routes", Some(route("a", 8080)));
    assert_eq!(
        changed,
        json!({ "version": 1, "dry_run": false, "added": ["a"], "replaced": [], "removed": [] })
    );
    let one = stage.expect(200, Method::GET, "/v1/routes/a", None);
    assert_eq!(
        one["routes"][0]["route"],
        json!({ "name": "a", "protocol": "tcp", "ports": [8080], "destinations": [], "sources": [],
            "target": { "proxy": 15001 }, "on_unavailable": "pass" })
    );
    assert_eq!(one["routes"][0]["text"], "a:tcp/8080=proxy:15001");
    assert_eq!(one["routes"][0]["available"], false);
    assert_eq!(one["routes"][0]["problem"], "not listening yet");
    let replaced = stage.expect(200, Method::PUT, "/v1/routes", Some(route("a", 8081)));
    assert_eq!(replaced["replaced"], json!(["a"]));
    let changed = stage.expect(200, Method::PUT, "/v1/routes?replace=true", Some(route("b", 8080)));
    assert_eq!((&changed["added"], &changed["removed"]), (&json!(["b"]), &json!(["a"])));
    stage.expect(200, Method::POST, "/v1/routes", Some(route("c", 8082)));
    stage.expect(200, Method::DELETE, "/v1/routes/b", None);
    let names = json!({ "version": 1, "names": ["c"] });
    stage.expect(200, Method::DELETE, "/v1/routes", Some(names));
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn a_route_without_a_name_is_found_by_its_match() {
    let stage = Stage::new();
    let document = json!({ "version": 1, "routes": [{ "ports": [8080], "destinations": ["10.0.0.1"], "target": "drop" }] });
    stage.expect(200, Method::POST, "/v1/routes", Some(document));
    let path = format!("/v1/routes/{}", crate::api::escape("tcp/10.0.0.1:8080"));
    stage.expect(200, Method::GET, &path, None);
    stage.expect(200, Method::DELETE, &path, None);
    stage.expect(404, Method::GET, &path, None);
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let stage = Stage::new();
    for (method, path, document) in [
        (Method::POST, "/v1/routes?dry_run=true", route("b", 8081)),
        (Method::PUT, "/v1/routes?replace=true&dry_run=true", route("a", 8082)),
        (Method::DELETE, "/v1/routes?dry_run=true", json!({ "version": 1, "names": ["a"] })),
    ] {
        stage.expect(200, Method::PUT, "/v1/routes", Some(route("a", 8080)));
        let before = stage.ask(Method::GET, "/v1/routes", None);
        let would = stage.expect(200, method.clone(), path, Some(document.clone()));
        assert_eq!(would["dry_run"], true);
        assert_eq!(stage.ask(Method::GET, "/v1/routes", None), before);
        let did = stage.expect(
            200,
            method,
            &path.replace("true", "false").replace("replace=false", "replace=true"),
            Some(document),
        );
        for key in ["added", "replaced", "removed"] {
            assert_eq!(would[key], did[key]);
        }
        stage.expect(
            200,
            Method::PUT,
            "/v1/routes?replace=true",
            Some(json!({ "version": 1, "routes": [] })),
        );
    }
}

#[test]
fn what_is_wrong_is_refused_whole_with_everything_at_once() {
    let stage = Stage::new();
    stage.expect(200, Method::POST, "/v1/routes", Some(route("a", 8080)));
    let document = json!({ "version": 1, "routes": [
        { "prots": [80], "target": "drop" },
        { "ports": [0, "9-8"], "target": "nowhere", "destinations": ["10.0.0.1/8"] },
        { "name": "9", "ports": [1], "target": { "proxy": 1 } },
    ] });
    let error = stage.expect(400, Method::PUT, "/v1/routes", Some(document));
    let details = error["error"]["details"].as_array().expect("a list");
    let said =
        |words: &str| details.iter().any(|detail| detail["message"].as_str().expect("text").contains(words));
    for words in [
        "did you mean `ports`?",
        "0 is not a port",
        "ends before it begins",
        "found \"nowhere\"",
        "bits beyond",
        "begins with a letter",
    ] {
        assert!(said(words), "{words}: {error:#}");
    }
    assert!(
        details.iter().all(|detail| detail["line"] == 1 && detail["column"].as_u64() > Some(1)),
        "{error:#}"
    );
    // None of two, though the first could be.
    let mut two = route("b", 8081);
    two["routes"].as_array_mut().expect("a list").push(route("a", 8082)["routes"][0].clone());
    let error = stage.expect(409, Method::POST, "/v1/routes", Some(two));
    assert_eq!(error["error"]["details"][0]["routes"], json!(["a"]));
    let error = stage.expect(422, Method::POST, "/v1/routes", Some(route("tied", 8080)));
    assert_eq!(error["error"]["details"][0]["routes"], json!(["a", "tied"]));
    let error = stage.expect(
        404,
        Method::DELETE,
        "/v1/routes",
        Some(json!({ "version": 1, "names": ["a", "x", "y"] })),
    );
    assert_eq!(error["error"]["details"][0]["routes"], json!(["x", "y"]));
    assert_eq!(stage.names(), ["a"]);
}

#[test]
fn a_limit_is_refused_with_its_numbers() {
    let stage = Stage::with(Fake { routes: Some(3), ..Fake::default() }, impatient());
    stage.expect(200, Method::POST, "/v1/routes", Some(route("a", 8080)));
    let error = stage.expect(422, Method::POST, "/v1/routes", Some(route("b", 8081)));
    assert_eq!(error["error"]["message"], "the routes need at least 4 routes, and the limit is 3");
    assert_eq!(stage.names(), ["a"]);
}

#[test]
fn parameters_that_are_not_there_are_refused() {
    let stage = Stage::new();
    for (query, words) in [
        ("dryrun=true", "did you mean `dry_run`?"),
        ("dry_run=1", "true or false"),
        ("dry_run", "true or false"),
        ("dry_run=true&dry_run=false", "twice"),
        ("replace=true", "not a parameter here"),
    ] {
        let error = stage.expect(400, Method::POST, &format!("/v1/routes?{query}"), Some(route("a", 8080)));
        assert!(error["error"]["message"].as_str().expect("text").contains(words), "{error}");
    }
    let error = stage.expect(400, Method::GET, "/v1/routes?origin=me", None);
    assert!(
        error["error"]["message"].as_str().expect("text").contains("command-line, files, api"),
        "{error}"
    );
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn clients_at_once_leave_what_some_order_of_them_leaves() {
    let stage = Stage::new();
    let (clients, rounds) = (8_u16, 20_u16);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|client| {
                let stage = &stage;
                scope.spawn(move || {
                    let mut statuses = Vec::new();
                    for round in 0..rounds {
                        // All of them want one name: one gets it. Each has another of its own.
                        let shared = format!("r{round}");
                        statuses.push(
                            stage.ask(Method::POST, "/v1/routes", Some(route(&shared, 1000 + round))).status,
                        );
                        let own = format!("own{client}");
                        stage.expect(200, Method::POST, "/v1/routes", Some(route(&own, 2000 + client)));
                        if round + 1 < rounds {
                            stage.expect(200, Method::DELETE, &format!("/v1/routes/{own}"), None);
                        }
                    }
                    statuses
                })
            })
            .collect();
        all.into_iter().flat_map(|thread| thread.join().expect("it ends well")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), usize::from(rounds));
    assert!(statuses.iter().all(|status| [200, 409].contains(status)));
    let mut names = stage.names();
    names.sort();
    let mut expected: Vec<_> = (0..rounds).map(|round| format!("r{round}")).collect();
    expected.extend((0..clients).map(|client| format!("own{client}")));
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn an_agent_that_does_not_answer_is_given_up() {
    let stage = Stage::with(Fake { is_stuck: true, ..Fake::default() }, impatient());
    for (method, path) in
        [(Method::GET, "/v1/routes"), (Method::POST, "/v1/reload"), (Method::DELETE, "/v1/routes/a")]
    {
        let error = stage.expect(504, method, path, None);
        assert_eq!(error["error"]["code"], "timed-out");
    }
    let failure = stage.client.ask(Method::GET, "/v1/interfaces", None).expect_err("it does not answer");
    assert_eq!(failure.exit, Exit::TimedOut);
}

#[test]
fn the_socket_goes_with_the_server_and_a_dead_one_s_is_replaced() {
    let mut stage = Stage::new();
    let path = stage.directory.join(SOCKET);
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(stage.server.take());
    assert_eq!(fs::read_dir(&stage.directory).expect("read").count(), 0, "nothing is left");
    let failure = stage.client.ask(Method::GET, "/v1/routes", None).expect_err("nobody is there");
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.to_string().contains("hint: "), "{failure}");
    // What a killed agent leaves: a name on which nobody listens, and perhaps half of what comes before.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
    fs::create_dir(stage.directory.join(".api")).expect("make a directory");
    let failure = stage.client.ask(Method::GET, "/v1/routes", None).expect_err("nobody is there");
    assert_eq!(failure.exit, Exit::Unreachable);
    let state = State::open(&stage.directory).expect("open");
    stage.server =
        Some(super::Server::start(&state, Fake::default().start(&[]), stage.flows.clone()).expect("start"));
    stage.expect(200, Method::GET, "/v1/routes", None);
}
