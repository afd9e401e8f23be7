//! docs/openapi.json says what the API does: every path, method, parameter, status and schema, and no other.

use std::{collections::BTreeSet, fs, path::Path};

use hyper::Method;
use redirector_common::{Reason, Verdict};
use serde_json::{Value, json};

use super::{Stage, impatient, route};
use crate::agent::command::{Refused, fake::Fake};

fn description() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    serde_json::from_slice(&fs::read(path).expect("read it")).expect("it is JSON")
}

/// Asserts that a document is of a schema of the description.
#[track_caller]
fn assert_is(description: &Value, schema: &str, document: &Value) {
    let schema = json!({ "$ref": schema, "components": description["components"] });
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    let errors: Vec<_> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {document:#}");
}

macro_rules! explain {
    ($source:literal, $destination:literal) => {
        concat!("/v1/explain?protocol=tcp&source=", $source, "&destination=", $destination)
    };
}

macro_rules! filters {
    () => {
        "?from=10.0.0.0/8&not_from=10.1.0.0/16&to=fd00::/8,10.0.0.0/8&not_to=fd00::1&port=80,1-9&not_port=81\
         &verdict=steered&not_verdict=passed&reason=proxy&not_reason=no-route&route=web&not_route=other\
         &interface=eth0&not_interface=eth1&last=2"
    };
}

/// One request of each kind, and the status that it gets.
fn rows() -> Vec<(u16, Method, &'static str, Option<Value>)> {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let put_log = put.clone();
    let names = |name: &str| Some(json!({ "version": 1, "names": [name] }));
    let set = |name, port| Some(route(name, port));
    vec![
        (200, get.clone(), "/v1/routes", None),
        (200, get.clone(), "/v1/routes?origin=files", None),
        (400, get.clone(), "/v1/routes?origin=me", None),
        (200, post.clone(), "/v1/routes?dry_run=true", set("a", 8080)),
        (200, post.clone(), "/v1/routes", set("a", 8080)),
        (400, post.clone(), "/v1/routes", Some(json!({ "version": 2 }))),
        (409, post.clone(), "/v1/routes", set("a", 8080)),
        (422, post.clone(), "/v1/routes", set("b", 8080)),
        (200, put.clone(), "/v1/routes?dry_run=false&replace=true", set("a", 8081)),
        (400, put.clone(), "/v1/routes?x=y", set("a", 8081)),
        (422, put, "/v1/routes", set("b", 8081)),
        (200, get.clone(), "/v1/routes/a?origin=api", None),
        (400, get.clone(), "/v1/routes/a?dry_run=true", None),
        (404, get.clone(), "/v1/routes/b", None),
        (200, delete.clone(), "/v1/routes?dry_run=true", names("a")),
        (400, delete.clone(), "/v1/routes", names("9")),
        (404, delete.clone(), "/v1/routes", names("b")),
        (200, delete.clone(), "/v1/routes/a?dry_run=true", None),
        (400, delete.clone(), "/v1/routes/a?origin=api", None),
        (404, delete, "/v1/routes/b", None),
        (200, get.clone(), "/v1/interfaces", None),
        (400, get.clone(), "/v1/interfaces?dry_run=true", None),
        (200, get.clone(), concat!(explain!("10.0.0.1", "10.96.0.1:80"), "&interface=eth0"), None),
        (200, get.clone(), concat!(explain!("10.0.0.1:5000", "10.96.0.1:81"), "&interface=eth0"), None),
        (200, get.clone(), concat!(explain!("fd00::1", "%5Bfd00::2%5D:80"), "&interface=eth1"), None),
        (400, get.clone(), concat!(explain!("10.0.0.1", "[fd00::2]:80"), "&interface=eth0"), None),
        (400, get.clone(), concat!(explain!("10.0.0.1", "10.96.0.1"), "&interface=eth0"), None),
        (400, get.clone(), concat!(explain!("host", "10.96.0.1:80"), "&interface=eth0"), None),
        (400, get.clone(), explain!("10.0.0.1", "10.96.0.1:80"), None),
        (500, get.clone(), concat!(explain!("10.0.0.1", "10.96.0.1:80"), "&interface=eth2"), None),
        (404, get.clone(), concat!(explain!("10.0.0.1", "10.96.0.1:80"), "&interface=eth7"), None),
        (200, get.clone(), concat!("/v1/flows", filters!()), None),
        (400, get.clone(), "/v1/flows?all=true", None),
        (400, get.clone(), "/v1/flows?verdict=stered", None),
        (400, get.clone(), "/v1/flows/watch?last=x", None),
        (200, get.clone(), "/v1/status", None),
        (400, get.clone(), "/v1/status?x=y", None),
        (200, get.clone(), "/v1/log", None),
        (400, get, "/v1/log?level=info", None),
        (200, put_log.clone(), "/v1/log?level=info", None),
        (400, put_log.clone(), "/v1/log?level=loud", None),
        (400, put_log, "/v1/log", None),
        (422, post.clone(), "/v1/reload", None),
        (200, post.clone(), "/v1/reload?dry_run=true", None),
        (400, post, "/v1/reload?origin=api", None),
    ]
}

/// A path of a request, and its parameters, as the description writes them.
fn pattern(path: &str) -> (&str, Vec<&str>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let names = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).collect();
    (if path.starts_with("/v1/routes/") { "/v1/routes/{name}" } else { path }, names)
}

#[test]
fn every_answer_is_as_described_and_everything_described_is_there() {
    let description = description();
    let stage = Stage::new();
    let mut seen = BTreeSet::new();
    for (status, method, path, document) in rows() {
        let (path_of, parameters) = pattern(path);
        let operation = &description["paths"][path_of][method.as_str().to_lowercase()];
        if let Some(document) = document.as_ref().filter(|_| status != 400) {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            assert_is(&description, schema.as_str().expect("it takes a document"), document);
        }
        let answer = stage.ask(method.clone(), path, document);
        assert_eq!(answer.status, status, "{method} {path}: {:#}", answer.document);
        let schema =
            &operation["responses"][status.to_string()]["content"]["application/json"]["schema"]["$ref"];
        let schema = schema.as_str().unwrap_or_else(|| panic!("{method} {path} describes no {status}"));
        assert_is(&description, schema, &answer.document);
        if status == 200 {
            seen.extend(
                parameters.into_iter().map(|name| (path_of.to_owned(), method.to_string(), name.to_owned())),
            );
        }
        seen.insert((path_of.to_owned(), method.to_string(), String::new()));
    }
    // What has no end is read as far as it goes.
    let path = concat!("/v1/flows/watch", filters!(), "&all=true");
    let lines = stage.watch(path, 2);
    lines.iter().for_each(|line| assert_is(&description, "#/components/schemas/Told", line));
    let (path_of, parameters) = pattern(path);
    seen.extend(parameters.iter().map(|name| (path_of.to_owned(), "GET".to_owned(), (*name).to_owned())));
    // Every operation and every parameter of one was used above.
    let mut described = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            if method == "parameters" {
                continue;
            }
            described.insert((path.clone(), method.to_uppercase(), String::new()));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name =
                    parameter["$ref"].as_str().and_then(|text| text.strip_prefix('#')).expect("a reference");
                let name = description
                    .pointer(name)
                    .and_then(|parameter| parameter["name"].as_str())
                    .expect("it has a name");
                described.insert((path.clone(), method.to_uppercase(), name.to_owned()));
            }
        }
    }
    assert_eq!(seen, described);
}

#[test]
fn a_path_has_the_methods_that_are_described_and_no_others() {
    let description = description();
    let stage = Stage::new();
    for (path, operations) in description["paths"].as_object().expect("paths") {
        // What has no end would be waited for: a request that is wrong is answered.
        let wrong = if path == "/v1/flows/watch" { "?x=y" } else { "" };
        let path = path.replace("{name}", "a") + wrong;
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "OTHER"] {
            let answer = stage.ask(method.parse().expect("a method"), &path, None);
            let is_there = operations.get(method.to_lowercase()).is_some();
            assert_eq!(answer.status == 405, !is_there, "{method} {path}: {answer:?}");
            if !is_there {
                assert_is(&description, "#/components/schemas/Error", &answer.document);
            }
        }
    }
    // The code names each of its paths once, in the router.
    let router =
        include_str!("../router.rs").split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routed: BTreeSet<_> = router.map(str::to_owned).collect();
    let described: BTreeSet<_> = description["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(routed, described);
    for path in ["/", "/v1", "/v2/routes", "/v1/routes/", "/v1/routes/a/b"] {
        let error = stage.expect(404, Method::GET, path, None);
        assert_is(&description, "#/components/schemas/Error", &error);
    }
}

#[test]
fn the_words_of_the_description_are_those_of_the_enums() {
    let words = |schema: &str| {
        let words = &description()["components"]["schemas"][schema]["enum"];
        serde_json::from_value::<Vec<String>>(words.clone()).expect("a list of words")
    };
    assert_eq!(words("Verdict"), Verdict::ALL.iter().map(|verdict| verdict.word()).collect::<Vec<_>>());
    assert_eq!(words("Reason"), Reason::ALL.iter().map(|reason| reason.word()).collect::<Vec<_>>());
}

#[test]
fn errors_that_need_an_agent_of_another_kind_are_as_described() {
    let description = description();
    let stuck = Stage::with(Fake { is_stuck: true, ..Fake::default() }, impatient());
    let error = stuck.expect(504, Method::GET, "/v1/routes", None);
    assert_is(&description, "#/components/schemas/Error", &error);
    // What the fake does not refuse.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (status, refused) in [(422, Refused::Host("x".into())), (500, Refused::Kernel("y".into()))] {
        use axum::response::IntoResponse as _;
        use http_body_util::BodyExt as _;
        let response = crate::api::error::ApiError::from(refused).into_response();
        assert_eq!(response.status().as_u16(), status);
        let body = runtime.block_on(response.into_body().collect()).expect("a body").to_bytes();
        assert_is(&description, "#/components/schemas/Error", &serde_json::from_slice(&body).expect("JSON"));
    }
}
