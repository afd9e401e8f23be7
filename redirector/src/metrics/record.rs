//! What the agent records. Each call is a few stores.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prometheus_client::metrics::histogram::Histogram;

use crate::{
    datapath::{FoundMaps, Hook, Learner},
    routes::{Origin, live::Live},
};

/// What the agent has done so far, for whoever asks on another thread.
#[derive(Debug)]
pub struct Metrics {
    pub(super) source: OnceLock<Source>,
    /// What the beats are counted from.
    began: Instant,
    /// Milliseconds since then.
    beat: AtomicU64,
    stage: AtomicU8,
    pub(super) started: SystemTime,
    pub(super) interfaces: [AtomicU64; InterfaceState::ALL.len()],
    pub(super) attached: [AtomicU64; ATTACHED.len()],
    pub(super) routes: [AtomicU64; ORIGINS.len()],
    pub(super) repairs: [AtomicU64; Repaired::ALL.len()],
    pub(super) reconcile: Histogram,
    pub(super) propagation: [Histogram; ORIGINS.len()],
    pub(super) reload_successful: AtomicBool,
    /// In Unix time, seconds.
    pub(super) reloaded: AtomicU64,
}

/// What is read at a scrape.
#[derive(Debug)]
pub(super) struct Source {
    pub maps: FoundMaps,
    pub learner: Learner,
}

/// How far the agent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Nothing is steered yet.
    Starting,
    /// The routes are in force.
    Steering,
    /// Nothing is steered any more.
    Ending,
}

/// What came of an interface that the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// Its traffic is redirected.
    Captured,
    /// Its traffic is not: the kernel refused.
    Failed,
    /// Its traffic cannot be: of loopback, for example.
    Unsupported,
}

/// What somebody had changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// A rule on the mark, or its route, was gone.
    Rules,
    /// Rules of others were before ours.
    Order,
    /// A program was detached, or others were before it.
    Programs,
    /// The nft table.
    Netfilter,
}

/// Who gives routes, in the order of their slots here.
pub(super) const ORIGINS: [Origin; 5] = Origin::ALL;

/// Where programs are attached.
pub(super) const ATTACHED: [&str; 3] = ["tcx", "clsact", "sk_lookup"];

impl InterfaceState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Captured, Self::Failed, Self::Unsupported];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

impl Repaired {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rules, Self::Order, Self::Programs, Self::Netfilter];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Order => "order",
            Self::Programs => "programs",
            Self::Netfilter => "netfilter",
        }
    }
}

impl Metrics {
    /// Of an agent that begins now.
    pub fn new() -> Arc<Self> {
        let started = SystemTime::now();
        let metrics = Self {
            source: OnceLock::new(),
            began: Instant::now(),
            beat: AtomicU64::default(),
            stage: AtomicU8::new(Stage::Starting as u8),
            started,
            interfaces: Default::default(),
            attached: Default::default(),
            routes: Default::default(),
            repairs: Default::default(),
            // From half a millisecond to half a minute.
            reconcile: Histogram::new(BUCKETS),
            propagation: ORIGINS.map(|_| Histogram::new(BUCKETS)),
            // It would not have begun otherwise.
            reload_successful: AtomicBool::new(true),
            reloaded: AtomicU64::new(unix_seconds(started)),
        };
        Arc::new(metrics)
    }

    /// Lets the counters in the maps be read.
    pub fn source(&self, maps: FoundMaps, learner: Learner) {
        // An agent has one datapath.
        let _ = self.source.set(Source { maps, learner });
    }

    /// The agent's loop has come round.
    pub fn beat(&self) {
        self.beat.store(self.began.elapsed().as_millis() as u64, Relaxed);
    }

    /// How long ago that was.
    pub(super) fn since_beat(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Relaxed)))
    }

    /// The agent has come so far.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        let stage = self.stage.load(Relaxed);
        [Stage::Steering, Stage::Ending]
            .into_iter()
            .find(|known| *known as u8 == stage)
            .unwrap_or(Stage::Starting)
    }

    /// These routes are in force.
    pub fn published(&self, live: &Live) {
        for (origin, number) in ORIGINS.iter().zip(&self.routes) {
            number.store(live.count(*origin) as u64, Relaxed);
        }
    }

    /// So many interfaces are in this state.
    pub fn interfaces(&self, state: InterfaceState, number: usize) {
        self.interfaces[state as usize].store(number as u64, Relaxed);
    }

    /// So many interfaces have a program at this kind of hook.
    pub fn attached(&self, hook: Hook, number: usize) {
        let slot = match hook {
            Hook::Tcx => 0,
            Hook::Clsact => 1,
        };
        self.attached[slot].store(number as u64, Relaxed);
    }

    /// Whether `sk_lookup` is attached.
    pub fn takes(&self, attached: bool) {
        self.attached[2].store(attached.into(), Relaxed);
    }

    /// So many things are as they were again.
    pub fn repaired(&self, what: Repaired, number: usize) {
        self.repairs[what as usize].fetch_add(number as u64, Relaxed);
    }

    /// What others changed and is as it was again: what, and how often.
    pub fn repairs(&self) -> Vec<(&'static str, u64)> {
        let numbers = self.repairs.iter().map(|number| number.load(Relaxed));
        Repaired::ALL.iter().map(|what| what.word()).zip(numbers).collect()
    }

    /// It took so long to look for what others changed and to repair it.
    pub fn reconciled(&self, duration: Duration) {
        self.reconcile.observe(duration.as_secs_f64());
    }

    /// A change of an origin's routes is in the maps, so long after it was seen.
    pub fn propagated(&self, origin: Origin, duration: Duration) {
        let slot = ORIGINS.iter().position(|known| *known == origin);
        self.propagation[slot.unwrap_or_default()].observe(duration.as_secs_f64());
    }

    /// The files were read again, and what they say is in force, or is wrong and was refused.
    pub fn reloaded(&self, success: bool) {
        self.reload_successful.store(success, Relaxed);
        if success {
            self.reloaded.store(unix_seconds(SystemTime::now()), Relaxed);
        }
    }
}

/// Upper bounds of the histograms' buckets, in seconds.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// In Unix time; a clock before 1970 is not told.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
