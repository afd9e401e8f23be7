//! Routes that change while the agent runs: what a change costs, when connections see it, and what a hundred thousand routes
//! take. The agent is the real one, and its state directory is in memory as it is on a host.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    figures::Table,
    support::{
        Agent, Hook, Listener, Server, World,
        agent::BINARY,
        turnover::exchange,
        world::{Family, PORT, PROXY_PORT},
    },
};
use client::Api;

mod beside;
mod client;

/// Routes of a set-up, and who gives them.
#[derive(Clone, Copy)]
struct SetUp {
    routes: usize,
    of_files: bool,
}

/// An agent that has so many routes, in a world of its own.
struct Stage {
    world: World,
    agent: Agent,
    api: Api,
    _proxy: Server,
    directory: Directory,
    /// From the command to the line that says that it steers.
    start: Duration,
}

/// Measures and prints.
pub fn run(quick: bool) {
    let most = if quick { 1000 } else { 100_000 };
    let changes = if quick { 20 } else { 2000 };
    println!("changes: one port through the API, {changes} times for each set-up");
    let mut table = Table::new(&[
        "routes",
        "start, s",
        "steered, s",
        "RSS, KiB",
        "bytes a route",
        "p50, ms",
        "p99, ms",
        "highest, ms",
        "a second",
        "seen p50, ms",
        "seen p99, ms",
        "end, s",
    ]);
    let mut idle = None;
    for (routes, of_files) in
        [(0, true), (10, true), (10_000, true), (most, true), (10, false), (10_000, false), (most, false)]
    {
        let routes = routes.min(most);
        let row = measure(SetUp { routes, of_files }, changes, &mut idle);
        table.row(row);
    }
    print!("\n{table}");
    println!(
        "goals: RSS without routes below 15,360 KiB, at most 1024 bytes a route; a change below 5 ms at p99; start at most 1 s"
    );
    loads(most);
    beside::run(quick);
}

fn measure(set_up: SetUp, changes: usize, idle: &mut Option<u64>) -> [String; 12] {
    let stage = Stage::new(set_up);
    let steered = stage.start + stage.seen(0);
    let resident = resident(&stage.agent);
    let idle = *idle.get_or_insert(resident);
    // Of a few the figure would be that of a page of memory.
    let a_route =
        (set_up.routes >= 1000).then(|| resident.saturating_sub(idle) * 1024 / set_up.routes as u64);
    let mut latencies = Vec::new();
    let begin = Instant::now();
    for number in 0..changes {
        let begin = Instant::now();
        stage.api.toggle(number);
        latencies.push(milliseconds(begin.elapsed()));
    }
    let a_second = changes as f64 / begin.elapsed().as_secs_f64();
    let mut seen: Vec<_> = (1..=changes / 10).map(|number| milliseconds(stage.seen(number))).collect();
    let (p50, p99, highest) = shares(&mut latencies);
    let (seen_p50, seen_p99, _) = shares(&mut seen);
    let owner = if set_up.of_files { "of files" } else { "of the API" };
    [
        format!("{} {owner}", set_up.routes),
        format!("{:.2}", stage.start.as_secs_f64()),
        format!("{:.2}", steered.as_secs_f64()),
        resident.to_string(),
        a_route.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
        format!("{p50:.2}"),
        format!("{p99:.2}"),
        format!("{highest:.2}"),
        format!("{a_second:.0}"),
        format!("{seen_p50:.2}"),
        format!("{seen_p99:.2}"),
        format!("{:.2}", stage.end().as_secs_f64()),
    ]
}

/// A hundred thousand routes at once.
fn loads(routes: usize) {
    let stage = Stage::new(SetUp { routes: 0, of_files: true });
    let mut table = Table::new(&["at once", "s", "CPU, s", "highest RSS, KiB"]);
    let mut row = |what: &str, work: &dyn Fn()| {
        let (begin, cpu) = (Instant::now(), cpu(&stage.agent));
        work();
        let elapsed = begin.elapsed();
        table.row([
            format!("{routes} routes by {what}"),
            format!("{:.2}", elapsed.as_secs_f64()),
            format!("{:.2}", self::cpu(&stage.agent) - cpu),
            status(&stage.agent, "VmHWM").to_string(),
        ]);
    };
    let document = document(routes, 11);
    row("PUT", &|| stage.api.ask("PUT", "/v1/routes?replace=true", &document));
    row("the same PUT again", &|| stage.api.ask("PUT", "/v1/routes?replace=true", &document));
    // The agent would read it by itself too, a moment later.
    fs::write(stage.directory.config(), files(routes)).expect("write the file");
    row("reload", &|| stage.api.ask("POST", "/v1/reload", ""));
    print!("\n{table}");
    println!("goal: at most 1 s");
    stage.end();
}

impl Stage {
    fn new(SetUp { routes, of_files }: SetUp) -> Self {
        let world = World::new(Hook::Auto);
        let proxy = Listener::proxy((Family::V4.loopback(), PROXY_PORT)).closing();
        let proxy = world.serve_proxy(proxy);
        let directory = Directory::new();
        let config = directory.config();
        fs::write(&config, files(if of_files { routes } else { 0 })).expect("write the file");
        let spawn = || {
            let mut command = world.node.command(BINARY);
            command.args(["run", "--metrics-listen", "off", "--config"]).arg(&config);
            command.arg("--state-dir").arg(&directory.0);
            let begin = Instant::now();
            let agent = Agent::spawn(command);
            agent.wait_until_ready();
            (agent, begin.elapsed())
        };
        let (mut agent, mut start) = spawn();
        if !of_files {
            Api::new(&directory.0).ask("PUT", "/v1/routes", &document(routes, 11));
            // The next one begins with them.
            agent.kill();
            (agent, start) = spawn();
        }
        let api = Api::new(&directory.0);
        // It would say of each change what it found at the proxy.
        api.ask("PUT", "/v1/log?level=warn", "");
        Self { world, agent, api, _proxy: proxy, directory, start }
    }

    /// How long from the request that makes a route until a connection that was opened after its answer has been served by the proxy.
    fn seen(&self, number: usize) -> Duration {
        let name = format!("seen{number}");
        let port = PORT + number as u16 % 1000;
        let directory = &self.directory.0;
        let seen = self.world.client.run(|| {
            let client = Api::new(directory);
            let begin = Instant::now();
            client.add(&name, port);
            let answer = exchange(SocketAddr::new(Family::V4.service(), port)).expect("the proxy answers");
            assert_eq!(answer.name, "proxy");
            begin.elapsed()
        });
        self.api.ask("DELETE", &format!("/v1/routes/{name}"), "");
        seen
    }

    /// Ends the agent; how long it took.
    fn end(mut self) -> Duration {
        let begin = Instant::now();
        self.agent.signal(Signal::SIGTERM);
        assert!(self.agent.wait().success(), "the agent ends well");
        let end = begin.elapsed();
        // A line for each route, which nobody wants to see.
        self.agent.output();
        end
    }
}

/// A directory in memory, gone with its measurement.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { env::temp_dir() };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("redirector-changes-{}-{number}", process::id()));
        fs::create_dir_all(path.join("config")).expect("make the directory");
        Self(path)
    }

    /// The file, in a directory of its own: the agent looks at its files whenever something changes beside them.
    fn config(&self) -> PathBuf {
        self.0.join("config/redirector.toml")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // That it stays behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file with so many routes.
fn files(routes: usize) -> String {
    let mut text =
        "version = 1\nlimits = { routes = 300000, prefixes = 600000 }\ninterfaces = { include = [\"to-client\"] }\n"
            .to_owned();
    for route in 0..routes {
        let (ports, [_, high, middle, low]) = (1000 + route % 50, (route as u32).to_be_bytes());
        text += &format!(
            "[[route]]\nname = \"f{route}\"\nports = [{ports}]\ndestinations = [\"10.{high}.{middle}.{low}\"]\ntarget = {{ proxy = 15001 }}\n"
        );
    }
    text
}

/// A document with so many routes.
fn document(routes: usize, network: u8) -> String {
    let routes = (0..routes).map(|route| {
        let [_, high, middle, low] = (route as u32).to_be_bytes();
        let destination = format!("{network}.{high}.{middle}.{low}");
        json!({ "name": format!("a{route}"), "ports": [1000 + route % 50], "destinations": [destination],
            "target": { "proxy": 15001 } })
    });
    json!({ "version": 1, "routes": routes.collect::<Vec<Value>>() }).to_string()
}

/// Memory of the agent in RAM, in KiB, once it has given back what it needed for a while only.
fn resident(agent: &Agent) -> u64 {
    thread::sleep(Duration::from_millis(200));
    status(agent, "VmRSS")
}

fn status(agent: &Agent, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("read the status");
    let line =
        status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// CPU time of the agent, in seconds.
fn cpu(agent: &Agent) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).expect("read the times");
    let (_, rest) = stat.rsplit_once(')').expect("the name is in brackets");
    // utime and stime, in hundredths of a second (proc_pid_stat(5)).
    rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>()
        / 100.0
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Median, 99th percentile and highest.
fn shares(figures: &mut [f64]) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |share: f64| figures[((figures.len() - 1) as f64 * share).round() as usize];
    (at(0.5), at(0.99), at(1.0))
}
