//! The agent: brings the datapath up, follows the host, and leaves nothing behind.

mod capture;
pub mod command;
mod files;
mod following;
mod moves;
pub(crate) mod report;
mod requests;
mod rereading;
mod routes;
mod states;
mod upkeep;
mod views;

use std::{collections::BTreeMap, mem, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval, sleep_until},
};

use crate::{
    api,
    datapath::{Datapath, Marking},
    failure::{Exit, Failure},
    flows::Flows,
    host::{self, Lock, Movable, Netfilter, PolicyRouting, Watch},
    metrics::{BEAT, Metrics, Server, Stage},
    service::{self, Watchdog},
    settings::{MetricsListen, OnExit, Settings},
    state::State,
    sys,
};
use capture::Captures;
use command::{Handle, Refused};
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

/// How long after a change of the files, or of what is ours, it is looked at.
const SETTLED: Duration = Duration::from_millis(100);

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
