//! `redirector flow`: each new connection, and what became of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, ChildStdout, Stdio},
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use redirector_common::entries::{FLOW_EVENTS_BYTES, FlowEvent};
use serde_json::Value;

use crate::support::{
    Connection, DEADLINE, World,
    agent::BINARY,
    at_each_hook,
    datagrams::{Client, Receiver},
    frames::{Wire, flag, tcp},
    golden::assert_golden,
    in_world,
    world::{FAMILIES, Family, PORT},
};

const ROUTES: &[&str] = &[
    "web:8080=proxy:15001",
    "refused:8081=proxy:15002 else reset",
    "left:8083=pass",
    "cut:8084=drop",
    "away:8085=interface:to-server",
    "far:203.0.113.0/24,[2001:db8:77::/64]:8086=proxy:15001",
];

#[test]
fn each_new_connection_is_told_with_what_became_of_it() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let _real = [8083, 8085, 8086, 8087].map(|port| world.real_server(port));
        let agent = world.agent(ROUTES);
        for family in FAMILIES {
            for (to, verdict, reason, route, target) in [
                ((family.service(), 8080), "steered", "proxy", Some("web"), Some(proxy(family))),
                ((family.node(), 8080), "steered", "proxy", Some("web"), Some(proxy(family))),
                ((family.service(), 8081), "reset", "no-listener", Some("refused"), None),
                ((family.server(), 8083), "passed", "pass-route", Some("left"), None),
                (
                    (family.server(), 8085),
                    "forwarded",
                    "interface",
                    Some("away"),
                    Some("to-server".to_owned()),
                ),
                // Its port is named, and its address is none of the route's.
                ((family.server(), 8086), "passed", "no-route", None, None),
            ] {
                let to = SocketAddr::from(to);
                let asked = Connection::open(&world.client, to);
                assert_eq!(asked.is_ok(), verdict != "reset", "{to}");
                drop(asked);
                let flow = last(world, "");
                assert_eq!(flow["verdict"], verdict, "{flow}");
                assert_eq!(flow["reason"], reason, "{flow}");
                assert_eq!(flow["route"].as_str(), route, "{flow}");
                assert_eq!(flow["target"].as_str().map(str::to_owned), target, "{flow}");
                assert_eq!(flow["destination"], to.to_string(), "{flow}");
                assert_eq!(flow["interface"], "to-client", "{flow}");
                assert_eq!(flow["protocol"], "tcp", "{flow}");
                assert!(
                    flow["source"]
                        .as_str()
                        .is_some_and(|source| source.contains(&family.client().to_string()))
                );
            }
            world.assert_silent((family.service(), 8084));
            let flow = last(world, "--verdict dropped");
            assert_eq!([&flow["reason"], &flow["route"]], ["drop-route", "cut"], "{flow}");
            // Of a port that no route names nothing is told.
            world.assert_reaches((family.server(), 8087), "server");
            assert_eq!(flows(world, "list --port 8087"), [Value::Null; 0]);
        }
        // Those of the proxy, by the source's family.
        for (filters, number) in [
            ("--route web", 4),
            ("--not-route web --not-verdict dropped", 8),
            ("--from 10.0.0.0/8 --route web", 2),
            ("--not-from 10.0.0.0/8 --route web,left", 3),
            ("--to 192.0.2.1,2001:db8:2::1 --port 8080-8081", 4),
            ("--reason pass-route,no-route", 4),
            ("--interface to-server", 0),
            ("--last 3", 3),
        ] {
            assert_eq!(flows(world, &format!("list {filters}")).len(), number, "{filters}");
        }
        assert!(
            world.redirector("flow list --verdict stered").assert_code(5).stderr.contains("did you mean")
        );
        agent.stop();
        world.redirector("flow list").assert_code(3);
    });
}

#[test]
fn who_watches_sees_them_at_once_and_ends_by_a_signal_or_a_closed_pipe() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real = world.real_server(8087);
        let agent = world.agent(ROUTES);
        world.assert_reaches((Family::V4.service(), PORT), "proxy");
        let mut with_last = Watch::begin(world, "--last 1 -o jsonl");
        let before = with_last.line();
        assert!(before.contains("192.0.2.1:8080") && before.starts_with("{\"version\":1,"), "{before}");
        let mut all = Watch::begin(world, "--all --port 8087 -o jsonl");
        // It is there by the time that it tells of something.
        let (mut all_line, begin) = (String::new(), Instant::now());
        while all_line.is_empty() {
            assert!(begin.elapsed() < DEADLINE, "nothing is told");
            world.assert_reaches((Family::V4.server(), 8087), "server");
            all_line = all.try_line().unwrap_or_default();
        }
        assert!(all_line.contains("\"no-route\""), "{all_line}");
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
            let line = with_last.line();
            assert!(line.contains(&SocketAddr::from((family.service(), PORT)).to_string()), "{line}");
        }
        all.signal(Signal::SIGINT);
        assert_eq!(all.end(), Some(0));
        // The next line finds nobody who reads.
        let Watch { mut child, lines } = with_last;
        drop(lines);
        let begin = Instant::now();
        let code = loop {
            world.assert_reaches((Family::V6.service(), PORT), "proxy");
            if let Some(status) = child.try_wait().expect("wait for it") {
                break status.code();
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end");
        };
        assert_eq!(code, Some(0));
        let mut last = Watch::begin(world, "--last 1");
        last.line();
        agent.stop();
        assert_eq!(last.end(), Some(3), "the agent ended");
    });
}

#[test]
fn each_flow_of_datagrams_is_told_of_once_and_only_while_somebody_watches() {
    at_each_hook(|world| {
        let _proxy = (world.proxy(), world.datagram_proxy());
        let _real = [8083, 8085].map(|port| {
            FAMILIES.map(|family| Receiver::ordinary((family.server(), port)).serve(&world.server, "server"))
        });
        let agent = world.agent(&[
            "web:8080=proxy:15001",
            "dns:udp/8080=proxy:15001",
            "refused:udp/8081=proxy:15002 else reset",
            "left:udp/8083=pass",
            "cut:udp/8084=drop",
            "away:udp/8085=interface:to-server",
        ]);
        for family in FAMILIES {
            world.assert_datagram_reaches((family.service(), 8080), "proxy");
        }
        assert_eq!(flows(world, "list"), [Value::Null; 0], "nobody watches");
        world.assert_reaches((Family::V4.service(), 8080), "proxy");
        let mut watch = Watch::begin(world, "--last 1 -o jsonl");
        // It is there by the time that it tells what was before.
        assert_eq!(watch.flow()["protocol"], "tcp");
        for family in FAMILIES {
            let forwarded_to = "to-server".to_owned();
            for (to, verdict, reason, route, target) in [
                ((family.service(), 8080), "steered", "proxy", "dns", Some(proxy(family))),
                ((family.node(), 8080), "steered", "proxy", "dns", Some(proxy(family))),
                ((family.service(), 8081), "reset", "no-listener", "refused", None),
                ((family.server(), 8083), "passed", "pass-route", "left", None),
                ((family.service(), 8084), "dropped", "drop-route", "cut", None),
                ((family.server(), 8085), "forwarded", "interface", "away", Some(forwarded_to)),
            ] {
                let clients = [(); 2].map(|()| Client::new(&world.client, to));
                for client in &clients {
                    for _ in 0..3 {
                        // A refusal of the one before is told at the next.
                        while client.try_send(b"told of once").is_err() {}
                    }
                    let flow = watch.flow();
                    assert_eq!(flow["protocol"], "udp", "{flow}");
                    assert_eq!(flow["source"], client.address.to_string(), "{flow}");
                    assert_eq!(flow["destination"], client.to.to_string(), "{flow}");
                    assert_eq!(flow["interface"], "to-client", "{flow}");
                    assert_eq!([&flow["verdict"], &flow["reason"], &flow["route"]], [verdict, reason, route]);
                    assert_eq!(flow["target"].as_str().map(str::to_owned), target, "{flow}");
                }
            }
            // No line more.
            world.assert_reaches((family.service(), 8080), "proxy");
            assert_eq!(watch.flow()["protocol"], "tcp");
        }
        assert_eq!(flows(world, "list --route dns").len(), 8);
        watch.signal(Signal::SIGINT);
        assert_eq!(watch.end(), Some(0));
        // The agent hears of that, and is silent again.
        let (begin, mut told) = (Instant::now(), 8);
        loop {
            world.assert_datagram_reaches((Family::V6.service(), 8080), "proxy");
            let now = flows(world, "list --route dns").len();
            if now == told {
                break;
            }
            told = now;
            assert!(begin.elapsed() < DEADLINE, "it tells still");
        }
        agent.stop();
    });
}

#[test]
fn more_than_the_rate_are_counted_and_not_told() {
    in_world(|world| {
        let _proxy = world.proxy();
        let agent = world.agent_with(ROUTES, &["--events-per-second", "5"]);
        let before = Instant::now();
        for family in FAMILIES {
            for _ in 0..20 {
                world.assert_reaches((family.service(), PORT), "proxy");
            }
        }
        let seconds = before.elapsed().as_secs() as usize;
        let told = flows(world, "list --route web");
        let (flows, lost): (Vec<_>, Vec<_>) = told.iter().partition(|flow| flow["lost"].is_null());
        let lost: u64 = lost.iter().map(|line| line["lost"].as_u64().expect("a number")).sum();
        assert_eq!(flows.len() as u64 + lost, 40, "{told:?}");
        assert!((5..=5 * (seconds + 2)).contains(&flows.len()), "{} in {seconds} s", flows.len());
        assert_eq!(losses(world), BTreeMap::from([("full".to_owned(), 0), ("rate".to_owned(), lost)]));
        world
            .redirector("flow list")
            .assert_says(&["connections were not told of: they were more than events.per_second"]);
        // Nothing at all.
        agent.stop();
        let agent = world.agent_with(ROUTES, &["--events-per-second", "0"]);
        world.assert_reaches((Family::V4.service(), PORT), "proxy");
        assert_eq!(self::flows(world, "list"), [Value::Null; 0]);
        agent.stop();
    });
}

#[test]
fn an_agent_that_does_not_read_holds_up_no_traffic_and_the_losses_are_counted() {
    in_world(|world| {
        const MORE: u64 = 500;
        let room = u64::from(FLOW_EVENTS_BYTES / FlowEvent::RECORD);
        let _proxy = world.proxy();
        let agent = world.agent_with(ROUTES, &["--events-per-second", "1000000"]);
        agent.signal(Signal::SIGSTOP);
        let wire = Wire::open(&world.client, "to-node");
        for number in 0..room + MORE {
            let family = FAMILIES[(number % 2) as usize];
            let source = SocketAddr::new(family.client(), 10_000 + number as u16);
            wire.send(&tcp(source, (family.service(), 8084).into(), flag::SYN));
        }
        // Steered by programs that nobody looks after.
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        agent.signal(Signal::SIGCONT);
        let told = flows(world, "list");
        let lost: u64 = told.iter().filter_map(|line| line["lost"].as_u64()).sum();
        assert!((MORE..MORE + 10).contains(&lost), "{lost}");
        assert_eq!(losses(world)["full"], lost);
        world
            .redirector("flow list --last 1")
            .assert_says(&["not told of: they came faster than the agent reads"]);
        let summary = agent.stop();
        assert_eq!(summary.packets("dropped", "drop-route"), room + MORE);
    });
}

#[test]
fn the_screen_is_that_of_the_documents() {
    in_world(|world| {
        let _proxy = world.proxy();
        let _real = [world.real_server(8083), world.real_server(8086)];
        let agent = world.agent(ROUTES);
        for (family, port) in [(Family::V4, 8080), (Family::V6, 8080), (Family::V4, 8083), (Family::V4, 8086)]
        {
            let to = if port == 8080 { family.service() } else { family.server() };
            drop(Connection::open(&world.client, (to, port).into()).expect("connect"));
        }
        world.assert_refused((Family::V4.service(), 8081));
        let listed = world.redirector("flow list");
        // What is another each time: the time, and the client's port.
        let lines = listed.assert_code(0).stdout.lines().zip(0..).map(|(line, number)| {
            let (time, rest) = line.split_at(12);
            assert!(time.bytes().filter(|byte| *byte == b':').count() == 2, "{time}");
            let (source, rest) = rest.split_once(" -> ").expect("an arrow");
            let (source, _port) = source.rsplit_once(':').expect("a port");
            format!("14:02:1{number}.402{source}:4182{number} -> {rest}\n")
        });
        let text: String = lines.collect();
        assert_golden("flow-list", &format!("$ redirector flow list\n{text}"));
        agent.stop();
    });
}

/// `redirector flow watch`, as it runs.
struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    fn begin(world: &World, arguments: &str) -> Self {
        let mut command = world.node.command(BINARY);
        command.args(["flow", "watch"]).args(arguments.split_whitespace()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("run it");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, lines }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("read a line");
        assert!(!line.is_empty(), "it ended");
        line
    }

    /// A line as the document that it is.
    #[track_caller]
    fn flow(&mut self) -> Value {
        let mut document: Value = serde_json::from_str(&self.line()).expect("it is JSON");
        document.get_mut("flow").map(Value::take).unwrap_or(document)
    }

    /// A line that is there, or comes within a moment.
    fn try_line(&mut self) -> Option<String> {
        use std::os::fd::AsRawFd as _;
        let mut poll =
            nix::libc::pollfd { fd: self.lines.get_ref().as_raw_fd(), events: nix::libc::POLLIN, revents: 0 };
        // SAFETY: the one entry is live.
        let ready = unsafe { nix::libc::poll(&raw mut poll, 1, 200) };
        (ready > 0).then(|| self.line())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id is an i32");
        kill(Pid::from_raw(pid), signal).expect("send a signal");
    }

    /// Its exit code.
    fn end(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("read the rest");
        self.child.wait().expect("wait for it").code()
    }
}

#[track_caller]
fn flows(world: &World, arguments: &str) -> Vec<Value> {
    let outcome = world.redirector(&format!("flow {arguments} -o json"));
    let mut document: Value = serde_json::from_str(&outcome.assert_code(0).stdout).expect("it is JSON");
    serde_json::from_value(document["flows"].take()).expect("a list")
}

#[track_caller]
fn last(world: &World, filters: &str) -> Value {
    flows(world, &format!("list --last 1 {filters}")).pop().expect("a connection was told of")
}

/// `redirector_flow_events_lost_total` by cause.
fn losses(world: &World) -> BTreeMap<String, u64> {
    ["rate", "full"]
        .into_iter()
        .map(|cause| {
            let sample = format!("redirector_flow_events_lost_total{{cause=\"{cause}\"}}");
            (cause.to_owned(), world.metrics().value(&sample) as u64)
        })
        .collect()
}

fn proxy(family: Family) -> String {
    SocketAddr::new(family.loopback(), 15001).to_string()
}
