//! `cargo xtask run`: the main job, shown in network namespaces that end with this process.
//!
//! A client and a node are joined by a veth pair. The client connects to addresses that exist nowhere; the agent on
//! the node hands these connections, and its queries by UDP, to proxies on the node's loopback, which say what they saw.

use std::{
    collections::BTreeSet, ffi::OsString, fs, io, net::SocketAddr, os::unix::process::CommandExt as _,
    path::PathBuf, process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, unshare};

use self::{agent::Agent, client::Answer, end::End, netns::Netns};
use crate::{build, sandbox, setup, steps::Steps};

mod agent;
mod client;
mod datagrams;
mod end;
mod netns;
mod servers;

/// Addresses and port of a service that exists nowhere; 192.0.2.0/24 and 2001:db8::/32 are for documentation.
const SERVICE: [&str; 2] = ["192.0.2.1:8080", "[2001:db8:2::1]:8080"];
/// Where the proxy listens.
const PROXY: [&str; 2] = ["127.0.0.1:15001", "[::1]:15001"];
/// The same service by UDP, and its proxy.
const RESOLVER: [&str; 2] = ["192.0.2.1:53", "[2001:db8:2::1]:53"];
const DNS_PROXY: [&str; 2] = ["127.0.0.1:15053", "[::1]:15053"];
/// An ordinary server of the node, on a port that no route names.
const SERVER: [&str; 2] = ["10.0.1.1:9090", "[2001:db8:1::1]:9090"];
/// The routes that the agent is given.
const ROUTES: [&str; 2] = ["demo:8080=proxy:15001", "dns:udp/53=proxy:15053"];
/// Commands that list whatever the agent could leave in a network namespace: rules, its table, hooks.
const TRACES: [&str; 6] = [
    "ip -4 rule show",
    "ip -6 rule show",
    "ip -4 route show table 8200",
    "ip -6 route show table 8200",
    "tc qdisc show dev veth0",
    "tc filter show dev veth0 ingress",
];

/// `cargo xtask run -- ARGS`: the agent on this host, in place of this process.
pub fn on_host(arguments: &[OsString]) -> Result<()> {
    let agent = build::agent(&mut Steps::default())?;
    let err = Command::new(&agent).arg("run").args(arguments).exec();
    Err(anyhow!(err).context(format!("run {}", agent.display())))
}

/// `cargo xtask run`: the demonstration, with this agent or one that is built.
pub fn demonstrate(keep: bool, agent: Option<PathBuf>) -> Result<()> {
    let mut steps = Steps::default();
    sandbox::check(&mut steps, "cargo xtask run")?;
    setup::commands(&mut steps, setup::DEMONSTRATION)?;
    let agent = agent.map_or_else(|| build::agent(&mut steps), Ok)?;
    let end = End::catch()?;
    steps.result = true;

    steps.begin("make two network namespaces, joined by a veth pair: a client, and the node it is on");
    let (node, client) = namespaces()?;
    steps.note("client 10.0.1.2 and 2001:db8:1::2, node 10.0.1.1 and 2001:db8:1::1, which is the client's default route");
    let mut story = Story::default();
    steps.begin(
        "start small proxies of TCP and UDP on the node's loopback, and an ordinary server on the node's own address",
    );
    node.run(|| -> Result<()> {
        PROXY.iter().try_for_each(|address| servers::proxy(address.parse()?))?;
        DNS_PROXY.iter().try_for_each(|address| datagrams::proxy(address.parse()?))?;
        SERVER.iter().try_for_each(|address| servers::ordinary(address.parse()?))
    })?;
    let before = traces(&node)?;

    steps.begin("connect from the client to addresses that exist nowhere, without the agent");
    for service in SERVICE {
        story.unreachable(&client, service)?;
    }
    let [web, dns] = ROUTES;
    steps
        .begin(&format!("start the agent: redirector run --interface veth0 --route '{web}' --route '{dns}'"));
    let arguments = ["run", "--interface", "veth0", "--route", web, "--route", dns];
    let mut running = node.run(move || Agent::start(&agent, &arguments))?;
    steps.begin("connect to the same addresses again: the proxy answers, and says what it saw");
    for service in SERVICE {
        story.told(&client, service, "original destination", client::ask)?;
    }
    steps.begin("send a query by UDP: the answer comes from the address that was asked");
    for resolver in RESOLVER {
        story.told(&client, resolver, "original destination", client::query)?;
    }
    steps.begin("connect to a port that no route names: it passes untouched");
    for server in SERVER {
        story.told(&client, server, "server", client::ask)?;
    }
    if keep {
        steps.begin("keep all this until Ctrl-C or the end of stdin");
        println!("   on the client:  nsenter --target {} --mount --net", client.id());
        println!("   on the node:    nsenter --target {} --mount --net", node.id());
        println!(
            "   for example:    nsenter --target {} --net bash -c 'cat </dev/tcp/192.0.2.1/8080'",
            client.id()
        );
        end.wait()?;
        // The terminal has written ^C.
        println!();
    }
    steps.begin("stop the agent with SIGINT; it prints what it counted");
    let stopped = running.stop()?;
    story.expect(stopped.success(), &format!("the agent ended with {stopped}"));

    steps.begin("look at the node again: is it as it was before the agent?");
    for (was, is) in before.iter().zip(traces(&node)?) {
        story.expect(*was == is, &format!("as before: {}", is.0));
        if *was != is {
            println!("      before:\n{}\n      now:\n{}", was.1.trim_end(), is.1.trim_end());
        }
    }
    for service in SERVICE {
        story.unreachable(&client, service)?;
    }
    story.result()
}

/// The node's and the client's namespaces, with addresses and routes.
fn namespaces() -> Result<(Netns, Netns)> {
    let node = Netns::new(|| sandbox::enter(CloneFlags::CLONE_NEWNET))?;
    // The client's thread begins where the node's is, and so has the same mounts.
    let client = node.run(|| Netns::new(|| unshare(CloneFlags::CLONE_NEWNET).context("make a netns")))?;
    let peer = client.id();
    node.commands(&[
        "ip link set lo up",
        &format!("ip link add veth0 type veth peer name veth0 netns {peer}"),
        "ip addr add 10.0.1.1/24 dev veth0",
        "ip addr add 2001:db8:1::1/64 dev veth0 nodad",
        "ip link set veth0 up",
    ])?;
    // A node forwards, and so says at once that an address is unreachable. Where this may not be set, connections
    // to nowhere time out instead.
    let forward = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];
    node.run(move || forward.map(|sysctl| fs::write(sysctl, "1").is_ok()));
    client.commands(&[
        "ip link set lo up",
        "ip addr add 10.0.1.2/24 dev veth0",
        "ip addr add 2001:db8:1::2/64 dev veth0 nodad",
        "ip link set veth0 up",
        "ip route add default via 10.0.1.1",
        "ip -6 route add default via 2001:db8:1::1",
    ])?;
    Ok((node, client))
}

/// What is on the node that an agent could leave there: each command with its output.
fn traces(node: &Netns) -> Result<Vec<(&'static str, String)>> {
    // A table that does not exist makes `ip route show` fail, which here is an answer like any other.
    let listed = TRACES.into_iter().map(|command| Ok((command, node.command(command)?.1)));
    let mut traces: Vec<(&str, String)> = listed.collect::<Result<_>>()?;
    let pins = node.run(|| {
        fs::read_dir("/sys/fs/bpf")?.map(|file| Ok(file?.path())).collect::<io::Result<BTreeSet<_>>>()
    });
    traces.push(("pins in /sys/fs/bpf", format!("{:#?}", pins.context("read /sys/fs/bpf")?)));
    Ok(traces)
}

/// What was expected, and what came.
#[derive(Default)]
struct Story {
    broken: Vec<String>,
}

impl Story {
    fn expect(&mut self, holds: bool, what: &str) {
        println!("   {} {what}", if holds { "ok" } else { "NO" });
        if !holds {
            self.broken.push(what.to_owned());
        }
    }

    /// Nobody must answer at this address.
    fn unreachable(&mut self, client: &Netns, address: &str) -> Result<()> {
        let to: SocketAddr = address.parse()?;
        match client.run(move || client::ask(to)) {
            Err(err) => self.expect(true, &format!("{address} is not reachable: {err:#}")),
            Ok(answer) => {
                self.expect(false, &format!("{address} is not reachable: it answered {:?}", answer.line))
            }
        }
        Ok(())
    }

    /// Whoever answers at this address must have seen it as the destination, and the client's own address as source.
    fn told(
        &mut self,
        client: &Netns,
        address: &str,
        who: &str,
        ask: fn(SocketAddr) -> Result<Answer>,
    ) -> Result<()> {
        let to: SocketAddr = address.parse()?;
        match client.run(move || ask(to)) {
            Err(err) => self.expect(false, &format!("{address} answers (it did not: {err:#})")),
            Ok(answer) => {
                let right = format!("{who} {to}, client {}", answer.client);
                self.expect(
                    answer.line == right,
                    &format!("{} -> {address} was told: {}", answer.client, answer.line),
                );
            }
        }
        Ok(())
    }

    fn result(self) -> Result<()> {
        if self.broken.is_empty() {
            println!("run: every expectation held; nothing is left behind");
            return Ok(());
        }
        bail!("these expectations did not hold:\n  {}", self.broken.join("\n  "))
    }
}
