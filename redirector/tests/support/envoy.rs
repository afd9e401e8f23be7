//! A real Envoy on the node: transparent, and connecting on to the original destination.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixStream},
    },
    process::{self, Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{DEADLINE, Netns, World, world::Family};

/// How many worker threads it has, each with listeners of its own.
pub const WORKERS: usize = 2;

/// Where Envoy's administration listens: an abstract socket, whose name is of the network namespace.
const ADMIN: &str = "envoy-admin";

/// A running Envoy.
pub struct Envoy {
    child: Child,
    node: Netns,
    /// By which processes that follow each other know each other.
    family: Option<u32>,
}

/// Whether there is an Envoy to test with. Where there is none the test is skipped, and says so; under CI it fails.
pub fn is_here() -> bool {
    let here = env::var_os("REDIRECTOR_ENVOY").is_some();
    if !here {
        assert!(env::var_os("CI").is_none(), "REDIRECTOR_ENVOY does not say where Envoy is");
        println!("skipped: needs Envoy, which `cargo xtask test` fetches and REDIRECTOR_ENVOY names");
    }
    here
}

impl Envoy {
    /// Starts it on the node, listening at both loopback addresses, and waits until its workers run.
    ///
    /// The calling thread must stay: the kernel kills Envoy when it ends.
    #[track_caller]
    pub fn start(world: &World) -> Self {
        Self::start_with(world, Configuration::Tcp)
    }

    /// Starts it with a configuration.
    #[track_caller]
    pub fn start_with(world: &World, configuration: Configuration) -> Self {
        Self::spawn(&world.node, configuration, &["--disable-hot-restart"], None)
    }

    /// Starts one that another can follow.
    #[track_caller]
    pub fn start_hot(world: &World) -> Self {
        // The shared memory that it names is the whole machine's.
        let family = process::id();
        let _ = fs::remove_file(shared_memory(family));
        Self::spawn(&world.node, Configuration::Tcp, &["--base-id", &family.to_string()], Some(family))
    }

    /// Starts the one that follows this one, which it tells to end.
    #[track_caller]
    pub fn follow_hot(&self) -> Self {
        let family = self.family.expect("it was started to be followed");
        let base = family.to_string();
        let flags = ["--base-id", &base, "--restart-epoch", "1", "--drain-time-s", "1"];
        let flags = [&flags[..], &["--parent-shutdown-time-s", "2"]].concat();
        Self::spawn(&self.node, Configuration::Tcp, &flags, Some(family))
    }

    #[track_caller]
    fn spawn(node: &Netns, configuration: Configuration, flags: &[&str], family: Option<u32>) -> Self {
        let binary = env::var("REDIRECTOR_ENVOY").expect("REDIRECTOR_ENVOY says where Envoy is");
        let mut command = node.command(&binary);
        command.args(["--concurrency", &WORKERS.to_string(), "--log-level", "warning"]).args(flags);
        command.args(["--config-yaml", configuration.text()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run Envoy");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        thread::spawn(|| {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("envoy: {line}");
            }
        });
        let mut envoy = Self { child, node: node.clone(), family };
        // Until then it is the one before that answers.
        let epoch = u64::from(flags.contains(&"--restart-epoch"));
        let begin = Instant::now();
        while envoy.try_stat("server.hot_restart_epoch") != Some(epoch)
            || envoy.try_stat("listener_manager.workers_started") != Some(1)
        {
            let ended = envoy.child.try_wait().expect("look after Envoy");
            assert!(ended.is_none(), "Envoy ended: {ended:?}");
            assert!(begin.elapsed() < DEADLINE, "Envoy did not start its workers");
            thread::sleep(Duration::from_millis(10));
        }
        envoy
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) {
        let begin = Instant::now();
        while self.child.try_wait().expect("look after Envoy").is_none() {
            assert!(begin.elapsed() < DEADLINE, "Envoy did not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(self) {}

    /// Connections that came to the listener of a family.
    #[track_caller]
    pub fn accepted(&self, family: Family) -> u64 {
        self.stat(&format!("listener.{}.downstream_cx_total", prefix(family)))
    }

    /// The same for each worker.
    #[track_caller]
    pub fn accepted_by_workers(&self, family: Family) -> [u64; WORKERS] {
        let name = |worker| format!("listener.{}.worker_{worker}.downstream_cx_total", prefix(family));
        std::array::from_fn(|worker| self.stat(&name(worker)))
    }

    /// Connections that it opened to original destinations.
    #[track_caller]
    pub fn opened(&self) -> u64 {
        self.stat("cluster.original_destination.upstream_cx_total")
    }

    /// Clients of UDP that it has a session for, or had.
    #[track_caller]
    pub fn sessions(&self) -> u64 {
        self.stat("udp.udp.downstream_sess_total")
    }

    /// Connections that a filter chain took.
    #[track_caller]
    pub fn taken_by(&self, chain: &str) -> u64 {
        self.stat(&format!("{chain}.downstream_cx_total"))
    }

    /// Closes its listeners, and leaves open connections alone.
    #[track_caller]
    pub fn drain(&self) {
        let answer = self.request("POST", "/drain_listeners").expect("Envoy answers");
        assert!(answer.contains("OK"), "{answer}");
        // Workers stop accepting each in its own time, and the sockets are closed after the last of them.
        let begin = Instant::now();
        while self.stat("listener_manager.listener_stopped") < 2 {
            assert!(begin.elapsed() < DEADLINE, "Envoy did not close its listeners");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn stat(&self, name: &str) -> u64 {
        self.try_stat(name).unwrap_or_else(|| panic!("Envoy has no number called {name}"))
    }

    /// Asks its administration for one number.
    fn try_stat(&self, name: &str) -> Option<u64> {
        // With this filter the answer is one line, and so one chunk of its body.
        let answer = self.request("GET", &format!("/stats?filter=^{name}$"))?;
        let number = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        number.trim().parse().ok()
    }

    /// Asks its administration.
    fn request(&self, method: &str, path: &str) -> Option<String> {
        let address = SocketAddr::from_abstract_name(ADMIN).ok()?;
        let mut stream = self.node.run(|| UnixStream::connect_addr(&address)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(family) = self.family {
            // The last of them finds it gone.
            let _ = fs::remove_file(shared_memory(family));
        }
    }
}

/// What processes that follow each other share. Envoy leaves it behind.
fn shared_memory(family: u32) -> String {
    format!("/dev/shm/envoy_shared_memory_{}", u64::from(family) * 10)
}

/// What the counters of a family's listener begin with.
fn prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// A configuration, as the document shows it.
#[derive(Clone, Copy, Debug)]
pub enum Configuration {
    /// Everything to its original destination.
    Tcp = 1,
    /// HTTP on port 8080, and everything else to its original destination.
    Http = 2,
    /// Datagrams to a resolver.
    Udp = 3,
}

const DOCUMENT: &str = include_str!("../../../docs/envoy.md");

/// The rules that the document gives for answers of UDP.
pub fn rules() -> impl Iterator<Item = String> {
    DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("# nft "))
        .map(|rule| format!("nft {}", rule.replace('\'', "")))
}

impl Configuration {
    /// The text.
    fn text(self) -> &'static str {
        let after = DOCUMENT.split("<!-- tests run this -->\n```yaml\n").nth(self as usize);
        let (text, _) = after.and_then(|after| after.split_once("```")).expect("the document shows it");
        text
    }
}
