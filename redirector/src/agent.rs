//! The agent: brings the datapath up, follows the host, and leaves nothing behind.

mod capture;
pub mod command;
mod files;
mod following;
mod moves;
pub(crate) mod report;
mod rereading;
mod routes;
mod states;
mod views;

use std::{collections::BTreeMap, mem, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval, sleep_until},
};

use crate::{
    api, config,
    datapath::{Datapath, Hook, Marking, Repair},
    explain::{self, Explanation, Question},
    failure::{Exit, Failure},
    flows::Flows,
    host::{self, Lock, Movable, Netfilter, Order, PolicyRouting, Watch},
    metrics::{BEAT, Metrics, Repaired, Server, Stage},
    routes::{Origin, live::Change},
    service::{self, Watchdog},
    settings::{MetricsListen, OnExit, Settings},
    state::State,
    sys,
};
use capture::Captures;
use command::{Changed, Command, Handle, Refused, Unexplained};
use files::Files;
use following::Following;
use report::Progress;
use routes::{First, Routes};

/// The parts in the order in which they go: what steers first, then what it relies on.
struct Agent {
    datapath: Datapath,
    routes: Routes,
    netfilter: Netfilter,
    routing: PolicyRouting,
    movable: Movable,
    following: Following,
    /// The file that was named, if one was.
    config: Option<PathBuf>,
    /// What it was told, but for routes.
    settings: Settings,
    /// Puts what the command line says over what the files do.
    over: Over,
    /// Settings of the files that need a restart, as was said.
    restart: Vec<&'static str>,
    metrics: Arc<Metrics>,
    _lock: Lock,
}

/// Puts what has precedence over settings that were read from files.
pub type Over = Box<dyn Fn(Settings) -> Settings>;

/// Runs the agent until Ctrl-C or SIGTERM, by these settings, of which those of files were read from `config` or, if that is
/// not given, from the default file. When the files are read again, `over` makes such settings of what they say.
///
/// # Errors
///
/// It could not begin, and then nothing is attached or changed; or it could not undo something at its end.
pub async fn run(mut settings: Settings, config: Option<PathBuf>, over: Over) -> Result<(), Failure> {
    sys::memory::share();
    let captures = Captures::new(&settings.interfaces, settings.attach)?;
    let first = first(&mut settings)?;
    captures.check(&host::interfaces()?)?;

    let lock = Lock::take().map_err(|error| {
        Failure::new(Exit::No, error).hint("end it first: two agents would steer the same packets")
    })?;
    if let Err(error) = sys::raise_descriptor_limit() {
        tracing::warn!("raise the limit of open descriptors: {error}");
    }
    let state = State::open(&settings.state_dir)?;
    let (handle, mut commands) = Handle::new();
    // What it asks waits until the agent is ready.
    let flows = Flows::new(settings.events_per_second);
    let api = api::Server::start(&state, handle, flows.clone())?;
    // Watched before the host is read, so that no change is missed in between.
    let following = Following::new(captures)?;
    let mut rules = Watch::new()?;
    let mut files = Files::watch(config.as_deref());
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut watchdog = Watchdog::new();

    let metrics = Metrics::new();
    let _server = match settings.metrics_listen {
        MetricsListen::Off => None,
        MetricsListen::At(address) => Some(Server::start(address, metrics.clone())?),
    };
    let reconcile = settings.reconcile;
    let mut agent = begin(lock, state, flows, first, following, settings, config, over, metrics.clone())?;
    sys::memory::give_back();
    agent.datapath.attach_sk_lookup()?;
    // From here on traffic is steered. A crash before this leaves rules on a mark that no packet has; after it,
    // TCX programs and sk_lookup are gone with the process, and clsact filters stay and pass what they would steer.
    agent.following.begin(&mut agent.datapath)?;
    report::failed(agent.routing.tidy());
    report::order(agent.routing.come_first(agent.movable)?);
    report::failed(agent.make_way());
    agent.observe()?;
    metrics.enter(Stage::Steering);
    report::ready(&agent.datapath, &agent.routes.live);
    report::failed(service::ready(&report::standing(&agent.datapath, &agent.routes.live)));

    let mut beat = interval(BEAT);
    let mut reload_at = None;
    let mut reconcile_at = Instant::now() + reconcile;
    loop {
        metrics.beat();
        tokio::select! {
            _ = beat.tick() => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            Some(command) = commands.recv() => agent.answer(command),
            _ = hangup.recv() => {
                report::failed(service::reloading());
                report::reloaded(&agent.reload());
                report::failed(service::ready(&report::standing(&agent.datapath, &agent.routes.live)));
            }
            () = watchdog.due() => report::failed(service::alive()),
            // Files are written in pieces, and several at once.
            () = files.changed() => reload_at = Some(Instant::now() + SETTLED),
            () = sleep_until(reload_at.unwrap_or(reconcile_at)), if reload_at.is_some() => {
                reload_at = None;
                report::reloaded(&agent.reload());
            }
            () = agent.following.changed() => report::failed(agent.follow()),
            // Changes come in groups: the kernel takes a rule after another.
            () = rules.changed() => reconcile_at = reconcile_at.min(Instant::now() + SETTLED),
            () = sleep_until(reconcile_at) => {
                let begin = Instant::now();
                report::failed(agent.reconcile());
                metrics.reconciled(begin.elapsed());
                reconcile_at = Instant::now() + reconcile;
            }
            () = agent.netfilter.changed() => report::failed(agent.follow_nat()),
            tidied = agent.routes.tidied(&mut agent.datapath) => report::failed(tidied),
        }
    }
    // Whoever still asks is told that the agent ends.
    drop(commands);
    drop(api);
    report::failed(service::stopping());
    metrics.enter(Stage::Ending);
    let given_up = agent.datapath.give_up();
    let mut progress = Progress::begin();
    let detached = agent.datapath.detach(|left| progress.left(left));
    given_up.and(detached)?;
    report::failed(agent.routes.state.set_refusal(None));
    report::failed(agent.routes.state.set_restart(&[]));
    report::summary(&mut agent.datapath, &agent.routes.live)?;
    Ok(())
}

/// So many routes take much more memory while they are read than afterwards.
const MANY: usize = 1000;

/// How long after a change of the files, or of what is ours, it is looked at.
const SETTLED: Duration = Duration::from_millis(100);

impl Agent {
    /// Answers a command. Whoever asked may have stopped waiting.
    fn answer(&mut self, command: Command) {
        match command {
            Command::Routes(reply) => match views::routes(&self.routes, &mut self.datapath) {
                Ok(views) => drop(reply.send(views)),
                Err(error) => report::failed(Err(error)),
            },
            Command::Interfaces(reply) => match views::interfaces(&self.datapath) {
                Ok(views) => drop(reply.send(views)),
                Err(error) => report::failed(Err(error)),
            },
            Command::Status(reply) => drop(reply.send(views::status(&self.routes, &self.metrics))),
            Command::Explain { question, reply } => drop(reply.send(self.explain(question))),
            Command::Change { request, dry_run, since, reply } => {
                let changed =
                    self.routes.requested(request).and_then(|change| self.change(&[change], dry_run));
                if changed.is_ok() && !dry_run {
                    self.metrics.propagated(Origin::Api, since.elapsed());
                }
                drop(reply.send(changed));
            }
            Command::Reload { dry_run: true, reply } => drop(reply.send(self.apply_files(true))),
            Command::Reload { dry_run: false, reply } => drop(reply.send(self.reload())),
        }
    }

    /// Why a connection is, or is not, redirected.
    fn explain(&mut self, question: Question) -> Result<Explanation, Unexplained> {
        let place = self.following.place(&question.interface, &self.datapath)?;
        explain::explain(question, &place, &self.routes.live, &mut self.datapath)
            .map_err(|error| Unexplained::Kernel(format!("{error:#}")))
    }

    /// Changes routes, and follows what comes of it.
    fn change(&mut self, changes: &[Change], dry_run: bool) -> Result<Changed, Refused> {
        let (changed, delta) = self.routes.change(&mut self.datapath, changes, dry_run)?;
        // What is written is live; the rest is reported, not refused.
        if !delta.next_hops.is_empty() {
            report::failed(self.following.describe(&mut self.datapath));
        }
        if !delta.proxies.is_empty() {
            report::failed(routes::learn(&mut self.datapath, delta.proxies));
        }
        if !delta.words.is_empty() || !delta.prefixes.is_empty() {
            report::failed(self.make_way());
        }
        self.metrics.published(&self.routes.live);
        if changes.iter().map(|change| change.remove.len() + change.add.len()).sum::<usize>() > MANY {
            sys::memory::give_back();
        }
        Ok(changed)
    }

    /// Reads the files again and applies their routes, or refuses them whole and keeps the old ones.
    fn reload(&mut self) -> Result<Changed, String> {
        let begin = Instant::now();
        let result = self.apply_files(false);
        sys::memory::give_back();
        self.metrics.reloaded(result.is_ok());
        report::failed(self.routes.state.set_refusal(result.as_ref().err()));
        if let Ok(Changed { restart, .. }) = &result {
            self.metrics.propagated(Origin::Files, begin.elapsed());
            if *restart != self.restart {
                report::restart(restart);
                report::failed(self.routes.state.set_restart(restart));
                self.restart.clone_from(restart);
            }
        }
        result
    }

    fn apply_files(&mut self, dry_run: bool) -> Result<Changed, String> {
        let mut settings = config::read(self.config.as_deref()).map_err(|errors| {
            let errors: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
            errors.join("\n")
        })?;
        let routes = settings.routes.remove(&Origin::Files).unwrap_or_default();
        let change = self.routes.live.replacement(Origin::Files, routes);
        let changed = self.change(&[change], dry_run).map_err(|refused| match refused {
            Refused::Routes(refusals) => {
                let lines: Vec<_> =
                    refusals.iter().map(|refusal| settings.route_places.explain(refusal)).collect();
                lines.join("\n")
            }
            refused => refused.to_string(),
        })?;
        let restart = (self.over)(settings).differences(&self.settings);
        Ok(Changed { restart, ..changed })
    }

    /// Repairs what others have changed, and says so.
    fn reconcile(&mut self) -> anyhow::Result<()> {
        self.following.look_at_all()?;
        self.follow()?;
        let rules = self.routing.repair()?;
        self.metrics.repaired(Repaired::Rules, rules.len());
        let rules = rules
            .into_iter()
            .map(|rule| Repair::Done(format!("{rule}: added again, for somebody had removed it")));
        report::repairs(&rules.collect::<Vec<_>>());
        let order = self.routing.come_first(self.movable)?;
        self.metrics.repaired(Repaired::Order, matches!(order, Some(Order::Moved { .. })).into());
        report::order(order);
        let programs = self.datapath.repair(self.following.settled());
        let done = programs.iter().filter(|repair| matches!(repair, Repair::Done(_))).count();
        self.metrics.repaired(Repaired::Programs, done);
        report::repairs(&programs);
        self.observe()?;
        report::failed(self.routes.unsteer(&mut self.datapath));
        if !self.netfilter.repair()? {
            return Ok(());
        }
        self.metrics.repaired(Repaired::Netfilter, 1);
        self.make_way()
    }

    /// Follows interfaces and addresses.
    fn follow(&mut self) -> anyhow::Result<()> {
        let repaired = self.following.follow(&mut self.datapath)?;
        self.metrics.repaired(Repaired::Programs, repaired);
        self.observe()
    }

    /// Records what is attached.
    fn observe(&self) -> anyhow::Result<()> {
        for (state, number) in self.following.count() {
            self.metrics.interfaces(state, number);
        }
        for hook in [Hook::Tcx, Hook::Clsact] {
            self.metrics.attached(hook, self.datapath.attached_at(hook));
        }
        self.metrics.takes(self.datapath.takes());
        Ok(())
    }

    /// Follows NAT that comes and goes.
    fn follow_nat(&mut self) -> anyhow::Result<()> {
        if self.netfilter.follow()? { self.make_way() } else { Ok(()) }
    }

    /// Has connections that NAT has translated make way for steered ones. What the host itself opened is never
    /// steered.
    fn make_way(&self) -> anyhow::Result<()> {
        if !self.netfilter.is_active() {
            return Ok(());
        }
        let own = host::addresses()?;
        let live = &self.routes.live;
        self.netfilter.make_way(|flow| live.is_steered(flow) && !own.contains(&flow.source.ip(flow.family)))
    }
}

/// Everything but what steers: programs, maps, listeners, rules.
#[expect(clippy::too_many_arguments, reason = "the parts of the agent, each once")]
fn begin(
    lock: Lock,
    state: State,
    flows: Flows,
    first: First,
    mut following: Following,
    settings: Settings,
    config: Option<PathBuf>,
    over: Over,
    metrics: Arc<Metrics>,
) -> Result<Agent, Failure> {
    let (numbers, moved) = host::choose_numbers(settings.routing, settings.movable)?;
    report::moved(&moved);
    let mut datapath = Datapath::load(&settings.limits, Marking::new(numbers.mark))?;
    flows.source(datapath.flow_reader()?)?;
    let routes = Routes::begin(first, state, flows, &mut datapath)
        .map_err(|refused| Failure::new(Exit::Invalid, refused))?;
    following.describe(&mut datapath)?;
    let proxies = routes.live.proxies().map(|(proxy, slot)| (slot, crate::routes::proxy_entry(proxy)));
    routes::learn(&mut datapath, proxies.collect::<BTreeMap<_, _>>())?;
    routes.state.set_refusal(None)?;
    routes.state.set_restart(&[])?;
    metrics.published(&routes.live);
    metrics.source(datapath.maps()?, datapath.learner()?);
    let routing = PolicyRouting::install(numbers)?;
    let owned = settings.on_exit == OnExit::Detach;
    let netfilter = Netfilter::install(settings.netfilter, numbers.mark, owned)?;
    let movable = settings.movable;
    Ok(Agent {
        datapath,
        routes,
        netfilter,
        routing,
        movable,
        following,
        config,
        settings,
        over,
        restart: Vec::new(),
        metrics,
        _lock: lock,
    })
}

/// Takes the routes out of the settings and plans them.
pub fn first(settings: &mut Settings) -> Result<First, Failure> {
    let (routes, places) = (mem::take(&mut settings.routes), mem::take(&mut settings.route_places));
    First::new(routes, settings.protect.clone(), settings.limits).map_err(|refused| match refused {
        Refused::Routes(refusals) => {
            let lines: Vec<_> = refusals.iter().map(|refusal| places.explain(refusal)).collect();
            Failure::new(Exit::Invalid, anyhow!(lines.join("\n")))
        }
        refused => Failure::new(Exit::No, refused),
    })
}
