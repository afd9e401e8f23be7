//! The agent: brings the datapath up, follows the host, and leaves nothing behind.

mod capture;
pub(crate) mod report;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use redirector_common::{Family, Protocol, entries::ProxyEntry};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval, sleep_until},
};

use crate::{
    datapath::{Datapath, Hook, Marking, Repair},
    failure::{Exit, Failure},
    host::{self, Lock, Movable, Netfilter, Order, PolicyRouting, Watch, Watched},
    metrics::{BEAT, Metrics, Repaired, Server, Stage},
    routes::{self, Compiled, Index, Origin, Route, Target},
    settings::{MetricsListen, OnExit, Settings},
};
use capture::Captures;

/// The parts in the order in which they go: what steers first, then what it relies on.
struct Agent {
    datapath: Datapath,
    netfilter: Netfilter,
    routing: PolicyRouting,
    movable: Movable,
    metrics: Arc<Metrics>,
    _lock: Lock,
}

/// Runs the agent until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// It could not begin, and then nothing is attached or changed; or it could not undo something at its end.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let captures = Captures::new(&settings.interfaces, settings.attach)?;
    let compiled = compile(&settings)?;
    captures.check(&host::interfaces()?)?;

    let lock = Lock::take().map_err(|error| {
        Failure::new(Exit::No, error).hint("end it first: two agents would steer the same packets")
    })?;
    // Watched before the host is read, so that no change is missed in between.
    let mut interfaces = Watch::new(Watched::Interfaces)?;
    let mut ours = Watch::new(Watched::Ours)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;

    let metrics = Metrics::new();
    let _server = match settings.metrics_listen {
        MetricsListen::Off => None,
        MetricsListen::At(address) => Some(Server::start(address, metrics.clone())?),
    };
    let mut agent = begin(lock, &settings, &compiled, metrics.clone())?;
    agent.datapath.attach_sk_lookup()?;
    // From here on traffic is steered. A crash before this leaves rules on a mark that no packet has; after it,
    // TCX programs and sk_lookup are gone with the process, and clsact filters stay and pass what they would steer.
    captures.follow(&mut agent.datapath, &host::interfaces()?, true)?;
    report::failed(agent.routing.tidy());
    report::order(agent.routing.come_first(settings.movable)?);
    report::failed(agent.make_way(&compiled));
    agent.observe(&captures)?;
    metrics.enter(Stage::Steering);
    report::ready(&agent.datapath, &compiled);

    let mut beat = interval(BEAT);
    let mut reconcile_at = Instant::now() + settings.reconcile;
    loop {
        metrics.beat();
        tokio::select! {
            _ = beat.tick() => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = interfaces.changed() => report::failed(agent.follow(&captures)),
            // Changes come in groups: the kernel takes a rule after another, and a program with its qdisc.
            () = ours.changed() => reconcile_at = reconcile_at.min(Instant::now() + SETTLED),
            () = sleep_until(reconcile_at) => {
                let begin = Instant::now();
                report::failed(agent.reconcile(&captures, &compiled));
                metrics.reconciled(begin.elapsed());
                reconcile_at = Instant::now() + settings.reconcile;
            }
            () = agent.netfilter.changed() => report::failed(agent.follow_nat(&compiled)),
        }
    }
    metrics.enter(Stage::Ending);
    agent.datapath.detach()?;
    report::summary(&mut agent.datapath, &compiled)?;
    Ok(())
}

/// How long after a change of what is ours it is looked at.
const SETTLED: Duration = Duration::from_millis(100);

impl Agent {
    /// Repairs what others have changed, and says so.
    fn reconcile(&mut self, captures: &Captures, compiled: &Compiled) -> anyhow::Result<()> {
        self.follow(captures)?;
        let rules = self.routing.repair()?;
        self.metrics.repaired(Repaired::Rules, rules.len());
        let rules = rules
            .into_iter()
            .map(|rule| Repair::Done(format!("{rule}: added again, for somebody had removed it")));
        report::repairs(&rules.collect::<Vec<_>>());
        let order = self.routing.come_first(self.movable)?;
        self.metrics.repaired(Repaired::Order, matches!(order, Some(Order::Moved { .. })).into());
        report::order(order);
        let programs = self.datapath.repair(&host::interfaces()?);
        let done = programs.iter().filter(|repair| matches!(repair, Repair::Done(_))).count();
        self.metrics.repaired(Repaired::Programs, done);
        report::repairs(&programs);
        self.observe(captures)?;
        if !self.netfilter.repair()? {
            return Ok(());
        }
        self.metrics.repaired(Repaired::Netfilter, 1);
        self.make_way(compiled)
    }

    /// Follows interfaces and addresses.
    fn follow(&mut self, captures: &Captures) -> anyhow::Result<()> {
        self.datapath.set_locals(&host::addresses()?)?;
        let interfaces = host::interfaces()?;
        report::next_hops(&self.datapath.set_next_hops(&interfaces)?);
        captures.follow(&mut self.datapath, &interfaces, false)?;
        self.observe(captures)
    }

    /// Records what is attached.
    fn observe(&self, captures: &Captures) -> anyhow::Result<()> {
        for (state, number) in captures.count(&self.datapath, &host::interfaces()?) {
            self.metrics.interfaces(state, number);
        }
        for hook in [Hook::Tcx, Hook::Clsact] {
            self.metrics.attached(hook, self.datapath.attached_at(hook));
        }
        self.metrics.takes(self.datapath.takes());
        Ok(())
    }

    /// Follows NAT that comes and goes.
    fn follow_nat(&mut self, compiled: &Compiled) -> anyhow::Result<()> {
        if self.netfilter.follow()? { self.make_way(compiled) } else { Ok(()) }
    }

    /// Has connections that NAT has translated make way for steered ones. What the host itself opened is never
    /// steered.
    fn make_way(&self, compiled: &Compiled) -> anyhow::Result<()> {
        let (index, own) = (Index::new(compiled), host::addresses()?);
        self.netfilter.make_way(|flow| index.is_steered(flow) && !own.contains(&flow.source.ip(flow.family)))
    }
}

/// Everything but what steers: programs, maps, listeners, rules.
fn begin(
    lock: Lock,
    settings: &Settings,
    compiled: &Compiled,
    metrics: Arc<Metrics>,
) -> Result<Agent, Failure> {
    let (numbers, moved) = host::choose_numbers(settings.routing, settings.movable)?;
    report::moved(&moved);
    let mut datapath = Datapath::load(&settings.limits, Marking::new(numbers.mark))?;
    datapath.publish(compiled)?;
    datapath.set_locals(&host::addresses()?)?;
    report::next_hops(&datapath.set_next_hops(&host::interfaces()?)?);
    for (slot, proxy) in (0..).zip(&compiled.proxies) {
        for (family, address) in listener_addresses(proxy) {
            let listening = datapath.learn(slot, Protocol::Tcp, family)?;
            report::proxy(address, listening);
        }
    }
    metrics.published(compiled);
    metrics.source(datapath.maps()?, datapath.learner()?);
    let routing = PolicyRouting::install(numbers)?;
    let owned = settings.on_exit == OnExit::Detach;
    let netfilter = Netfilter::install(settings.netfilter, numbers.mark, owned)?;
    Ok(Agent { datapath, netfilter, routing, movable: settings.movable, metrics, _lock: lock })
}

/// Checks and compiles the routes, with those built in.
pub fn compile(settings: &Settings) -> Result<Compiled, Failure> {
    let addresses = host::addresses()?;
    for route in settings.routes.values().flatten() {
        check_target(route, &addresses)?;
    }
    let mut sets = settings.routes.clone();
    let built_in = routes::built_in(&settings.protect, settings.routes.values().flatten());
    sets.insert(Origin::BuiltIn, built_in);
    routes::compile(&sets, &settings.limits).map_err(|refusals| {
        let lines: Vec<_> = refusals.iter().map(|refusal| settings.route_places.explain(refusal)).collect();
        Failure::new(Exit::Invalid, anyhow!(lines.join("\n")))
    })
}

/// Refuses what the host cannot do for a route.
fn check_target(route: &Route, addresses: &[IpAddr]) -> Result<(), Failure> {
    if route.protocol == Protocol::Udp {
        let error = anyhow!("route {}: udp cannot be redirected yet", route.name);
        return Err(Failure::new(Exit::Invalid, error).hint("routes of tcp can"));
    }
    let Target::Proxy(proxy) = &route.target else { return Ok(()) };
    for address in proxy.v4.map(IpAddr::V4).into_iter().chain(proxy.v6.map(IpAddr::V6)) {
        if !address.is_loopback() && !addresses.contains(&address) {
            let error = anyhow!("route {}: the proxy's address {address} is not of this host", route.name);
            let here: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            return Err(
                Failure::new(Exit::Invalid, error).hint(format!("addresses here: {}", here.join(", ")))
            );
        }
    }
    Ok(())
}

/// Where a proxy's listeners are looked for.
pub(crate) fn listener_addresses(proxy: &ProxyEntry) -> impl Iterator<Item = (Family, SocketAddr)> {
    let port = proxy.port;
    [Family::V4, Family::V6]
        .into_iter()
        .map(|family| (family, proxy.address(family).ip(family)))
        .filter(|(_, address)| !address.is_unspecified())
        .map(move |(family, address)| (family, SocketAddr::new(address, port)))
}
