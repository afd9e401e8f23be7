//! Requests that mean no good: each costs a bounded time and memory, and others are served meanwhile.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    thread,
    time::{Duration, Instant},
};

use hyper::Method;

use super::{Bounds, Stage, impatient, read, route};
use crate::agent::command::fake::Fake;

fn put(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "PUT /v1/routes HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn documents_that_are_none_are_refused_with_the_place() {
    let stage = Stage::new();
    for (body, words) in [
        (&b""[..], "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "an object in { }"),
        (b"null", "null is no value"),
        (b"{\"version\":1}", "has no `routes`"),
        (b"{\"routes\":[]}", "version"),
        (b"{\"version\":2,\"routes\":[]}", "this build reads version 1, not 2"),
        (b"{\"version\":1,\"version\":1,\"routes\":[]}", "stands here twice"),
        (
            b"{\"version\":1,\"routes\":[{\"ports\":[80],\"ports\":[81],\"target\":\"drop\"}]}",
            "`ports` stands here twice",
        ),
        (b"{\"version\":1,\"routes\":[\xff]}", "not UTF-8"),
        (b"{\"version\":1,\"routes\":[\"\\ud800\"]}", "not JSON"),
        (b"{\"version\":1,\"routs\":[]}", "did you mean `routes`?"),
        (b"{\"version\":1,\"routes\":[{\"ports\":[1e400],\"target\":\"drop\"}]}", "a number with a fraction"),
        (
            b"{\"version\":1,\"routes\":[{\"ports\":[99999999999999999999999],\"target\":\"drop\"}]}",
            "expected",
        ),
        (b"{\"version\":1,\"routes\":[]} x", "not JSON"),
    ] {
        let answer = stage.send(&put(body));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(&words.replace('"', "\\\"")), "{words}: {answer}");
    }
}

#[test]
fn deep_documents_do_not_exhaust_the_stack() {
    let stage = Stage::new();
    for open in ["[", "{\"a\":"] {
        let body = format!("{{\"version\":1,\"routes\":{}", open.repeat(1 << 20));
        let close = if open == "[" { "]" } else { "}" };
        for body in [body.clone(), format!("{body}1{}}}", close.repeat(1 << 20))] {
            let answer = stage.send(&put(body.as_bytes()));
            assert!(answer.starts_with("HTTP/1.1 400 "), "{:.300}", answer);
        }
    }
}

#[test]
fn a_million_mistakes_are_counted_and_a_thousand_shown() {
    let stage = Stage::new();
    let body = format!("{{\"version\":1,\"routes\":[{}1]}}", "1,".repeat(1_000_000));
    let begin = Instant::now();
    let answer = stage.send(&put(body.as_bytes()));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("and 999001 more"), "{:.300}", answer);
    assert!(answer.len() < 1 << 20);
    println!("a million mistakes: {:?}", begin.elapsed());
}

#[test]
fn a_document_that_is_too_long_is_refused_before_it_is_read() {
    let stage = Stage::new();
    let head = "PUT /v1/routes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    let answer = stage.send(format!("{head}content-length: 99999999999\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // One that does not say its length is read as far as it may go.
    let mut stream = stage.connect();
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).expect("write");
    let chunk = [b"100000\r\n", vec![b' '; 1 << 20].as_slice(), b"\r\n"].concat();
    let written = (0..40).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!((32..=36).contains(&written), "{written} MiB were taken");
    assert!(read(stream).starts_with("HTTP/1.1 413 "));
}

#[test]
fn long_heads_and_what_is_not_http_are_refused() {
    let stage = Stage::new();
    let long = format!("GET /v1/routes HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET /v1/routes HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    for request in
        [long.as_str(), &many, "\x16\x03\x01\x02\x00\x01\x00", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n \r\n"]
    {
        let answer = stage.send(request.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    stage.expect(200, Method::GET, "/v1/routes", None);
}

#[test]
fn who_dawdles_is_cut_off_and_keeps_nobody_waiting() {
    let bounds = crate::api::connection::Bounds { connections: 4, ..impatient() };
    let stage = Stage::with(Fake::default(), bounds);
    let begin = Instant::now();
    // Every place is taken by somebody who says nothing, or not all.
    let beginnings = [
        "",
        "GET /v1/rou",
        "PUT /v1/routes HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{",
        "POST /v1/routes HTTP/1.1\r\nhost: a\r\n",
    ];
    let slow: Vec<_> = beginnings
        .map(|beginning| {
            let mut stream = stage.connect();
            stream.write_all(beginning.as_bytes()).expect("write");
            stream
        })
        .into();
    stage.expect(200, Method::POST, "/v1/routes", Some(route("a", 8080)));
    for stream in slow {
        let answer = read(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn who_does_not_read_the_answer_is_cut_off() {
    // Long enough for the routes below to be read on a busy machine.
    let bounds = Bounds { connections: 1, age: Duration::from_secs(3), ..Bounds::default() };
    let stage = Stage::with(Fake::default(), bounds);
    let many: Vec<_> = (1..=3000).map(|port| route(&format!("r{port}"), port)["routes"][0].clone()).collect();
    let document = serde_json::json!({ "version": 1, "routes": many });
    stage.expect(200, Method::PUT, "/v1/routes", Some(document));
    let mut deaf = stage.connect();
    deaf.write_all(b"GET /v1/routes HTTP/1.1\r\nhost: a\r\n\r\n").expect("write");
    // The one place is free again while the deaf one still holds its end.
    stage.expect(200, Method::GET, "/v1/interfaces", None);
    drop(deaf);
}

#[test]
fn the_end_does_not_wait_for_connections_on_which_nothing_is_asked() {
    let patient = Duration::from_secs(60);
    let mut stage = Stage::with(Fake::default(), Bounds { grace: patient, ..Bounds::default() });
    let silent = stage.connect();
    let mut idle = stage.connect();
    idle.write_all(b"GET /v1/interfaces HTTP/1.1\r\nHost: agent\r\n\r\n").expect("ask");
    let mut answer = String::new();
    let mut lines = BufReader::new(idle.try_clone().expect("share"));
    while !answer.ends_with("]}\n") {
        assert_ne!(lines.read_line(&mut answer).expect("read"), 0, "{answer}");
    }
    let begin = Instant::now();
    drop(stage.server.take());
    assert!(begin.elapsed() < patient / 2, "{:?}", begin.elapsed());
    for stream in [silent, idle] {
        assert_eq!(read(stream), "");
    }
}

#[test]
fn the_end_does_not_wait_for_who_dawdles() {
    let mut stage = Stage::new();
    let slow = stage.connect();
    stage.expect(200, Method::GET, "/v1/routes", None);
    let begin = Instant::now();
    drop(stage.server.take());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(slow);
    thread::yield_now();
}
