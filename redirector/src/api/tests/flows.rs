//! Flows as clients see them who take them in time, or do not.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    ops::ControlFlow,
    time::SystemTime,
};

use hyper::Method;
use redirector_common::{Protocol, Reason, Verdict};
use serde_json::Value;

use super::{Stage, impatient};
use crate::{
    agent::command::fake::Fake,
    api::connection::Bounds,
    failure::Exit,
    flows::{Flow, Item, KEPT},
};

fn flow(port: u16) -> Item {
    Item::Flow(Flow {
        time: SystemTime::now(),
        interface: "eth0".to_owned(),
        protocol: Protocol::Tcp,
        source: SocketAddr::from(([10, 0, 0, 1], port)),
        destination: SocketAddr::from(([10, 96, 0, 1], 80)),
        verdict: Verdict::Steered,
        reason: Reason::Proxy,
        route: Some("web".to_owned()),
        target: Some("127.0.0.1:15001".to_owned()),
        is_unnamed: false,
    })
}

impl Stage {
    /// The first lines of what has no end, of which there are two at its beginning.
    pub fn watch(&self, path: &str, lines: usize) -> Vec<Value> {
        self.flows.tell(flow(1));
        self.flows.tell(flow(2));
        let mut read = Vec::new();
        let ended = self.client.watch(path, |line| {
            read.push(serde_json::from_str(line).expect("it is JSON"));
            if read.len() == lines { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        ended.unwrap_or_else(|failure| panic!("{failure}"));
        read
    }

    fn begin_to_watch(&self) -> BufReader<std::os::unix::net::UnixStream> {
        let mut stream = self.connect();
        stream.write_all(b"GET /v1/flows/watch HTTP/1.1\r\nHost: a\r\n\r\n").expect("ask");
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        stream.read_line(&mut head).expect("read the head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream
    }
}

#[test]
fn the_last_are_kept_and_lost_ones_stand_between_them() {
    let stage = Stage::new();
    for number in 0..KEPT as u16 + 5 {
        stage.flows.tell(flow(number));
    }
    stage.flows.tell(Item::Lost { rate: 7, full: 3 });
    let all = stage.expect(200, Method::GET, "/v1/flows", None);
    let flows = all["flows"].as_array().expect("a list");
    assert_eq!(flows.len(), KEPT + 1, "two causes are two lines");
    assert_eq!(flows[0]["source"], "10.0.0.1:6");
    let last = stage.expect(200, Method::GET, "/v1/flows?last=2&port=80", None);
    assert_eq!(last["flows"][1], serde_json::json!({ "lost": 7, "cause": "rate" }));
    assert_eq!(last["flows"][2], serde_json::json!({ "lost": 3, "cause": "full" }));
}

#[test]
fn who_does_not_read_loses_what_came_and_is_told_how_much() {
    let stage = Stage::new();
    let mut stream = stage.begin_to_watch();
    // More than all the buffers on the way hold.
    const MANY: usize = 40_000;
    for number in 0..MANY {
        stage.flows.tell(flow(number as u16));
    }
    // Others are answered meanwhile.
    stage.expect(200, Method::GET, "/v1/routes", None);
    let (mut told, mut lost) = (0, 0);
    while told + lost < MANY {
        let mut line = String::new();
        stream.read_line(&mut line).expect("read a line");
        if line.starts_with('{') {
            let document: Value = serde_json::from_str(&line).expect("it is JSON");
            match document["lost"].as_u64() {
                None => told += 1,
                Some(number) => {
                    assert_eq!(document["cause"], "slow");
                    lost += number as usize;
                }
            }
        }
    }
    assert_eq!(told + lost, MANY);
    assert!(lost > 0 && told >= 4096, "{told} told, {lost} lost");
}

#[test]
fn who_never_reads_is_cut_off_and_who_waits_is_not() {
    let stage = Stage::with(Fake::default(), impatient());
    let (stalled, mut waits) = (stage.begin_to_watch(), stage.begin_to_watch());
    assert_eq!(stage.flows.watchers(), 2);
    for number in 0..20_000 {
        stage.flows.tell(flow(number as u16));
        // Takes what comes, as fast as it does.
        let mut line = String::new();
        while !line.contains("10.96.0.1") && !line.contains("lost") {
            line.clear();
            waits.read_line(&mut line).expect("read a line");
        }
    }
    let begin = std::time::Instant::now();
    while stage.flows.watchers() > 1 {
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "the stalled one keeps its place");
        std::thread::yield_now();
    }
    drop(stalled);
    // Several times as long as a connection may be that does nothing.
    while begin.elapsed() < 3 * impatient().age {
        assert_eq!(stage.flows.watchers(), 1);
        std::thread::yield_now();
    }
    drop(waits);
    while stage.flows.watchers() > 0 {
        assert!(begin.elapsed() < std::time::Duration::from_secs(30), "who is gone keeps its place");
        std::thread::yield_now();
    }
}

#[test]
fn no_more_can_watch_than_there_are_places_and_the_end_is_told() {
    let mut stage = Stage::with(Fake::default(), Bounds { watchers: 2, ..Bounds::default() });
    let watching = [stage.begin_to_watch(), stage.begin_to_watch()];
    let error = stage.expect(429, Method::GET, "/v1/flows/watch", None);
    assert_eq!(error["error"]["code"], "too-many");
    drop(watching);
    while stage.flows.watchers() > 0 {
        std::thread::yield_now();
    }
    let server = stage.server.take();
    let client = stage.client.clone();
    let watching = std::thread::spawn(move || client.watch("/v1/flows/watch", |_| ControlFlow::Continue(())));
    while stage.flows.watchers() == 0 {
        std::thread::yield_now();
    }
    let begin = std::time::Instant::now();
    drop(server);
    let failure = watching.join().expect("it ends").expect_err("the agent ended");
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.to_string().ends_with("ended"), "{failure}");
    assert!(begin.elapsed() < Bounds::default().grace, "nobody waits for who watches");
}
