//! A real Envoy on the node: transparent, and connecting on to the original destination.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixStream},
    },
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    DEADLINE, Netns, World,
    world::{Family, PROXY_PORT},
};

/// How many worker threads it has, each with listeners of its own.
pub const WORKERS: usize = 2;

/// Where Envoy's administration listens: an abstract socket, whose name is of the network namespace.
const ADMIN: &str = "envoy-admin";

/// A running Envoy.
pub struct Envoy {
    child: Child,
    node: Netns,
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
        let binary = env::var("REDIRECTOR_ENVOY").expect("REDIRECTOR_ENVOY says where Envoy is");
        let mut command = world.node.command(&binary);
        command.args(["--concurrency", &WORKERS.to_string(), "--disable-hot-restart"]);
        command.args(["--log-level", "warning", "--config-yaml", &configuration()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run Envoy");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        thread::spawn(|| {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("envoy: {line}");
            }
        });
        let mut envoy = Self { child, node: world.node.clone() };
        let begin = Instant::now();
        while envoy.try_stat("listener_manager.workers_started") != Some(1) {
            let ended = envoy.child.try_wait().expect("look after Envoy");
            assert!(ended.is_none(), "Envoy ended: {ended:?}");
            assert!(begin.elapsed() < DEADLINE, "Envoy did not start its workers");
            thread::sleep(Duration::from_millis(10));
        }
        envoy
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

    #[track_caller]
    fn stat(&self, name: &str) -> u64 {
        self.try_stat(name).unwrap_or_else(|| panic!("Envoy has no number called {name}"))
    }

    /// Asks its administration for one number.
    fn try_stat(&self, name: &str) -> Option<u64> {
        let address = SocketAddr::from_abstract_name(ADMIN).ok()?;
        let mut stream = self.node.run(|| UnixStream::connect_addr(&address)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        // With this filter the answer is one line, and so one chunk of its body.
        let request =
            format!("GET /stats?filter=^{name}$ HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let number = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        number.trim().parse().ok()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the counters of a family's listener begin with.
fn prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// The configuration that the README asks for: `transparent`, `original_dst`, ORIGINAL_DST.
fn configuration() -> String {
    let listener = |family: Family| {
        let (name, address) = (prefix(family), family.loopback());
        format!(
            r#"
  - name: {name}
    stat_prefix: {name}
    address: {{ socket_address: {{ address: "{address}", port_value: {PROXY_PORT} }} }}
    transparent: true
    listener_filters:
    - name: original_dst
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst
    filter_chains:
    - filters:
      - name: tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: original_destination"#
        )
    };
    format!(
        r#"
admin:
  address: {{ pipe: {{ path: "@{ADMIN}" }} }}
static_resources:
  listeners:{}{}
  clusters:
  - name: original_destination
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 5s
"#,
        listener(Family::V4),
        listener(Family::V6)
    )
}
