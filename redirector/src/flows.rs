//! New connections: what the programs tell of them is read here, kept for a while, and handed to whoever watches.
//!
//! Nobody is woken by an event, and nobody who watches is waited for: a task reads what has come (`Flows::read`), twenty times
//! a second while somebody watches and else once; and what a watcher does not take in time it loses, and is told so.

mod filter;
mod item;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use redirector_common::entries::{EventLosses, EventSettings, FLOW_EVENTS_BYTES, FlowEvent};
use tokio::sync::{Notify, broadcast};

use crate::datapath::FlowReader;
pub use filter::{Filter, Filters};
use item::Names;
pub use item::{Flow, Item, clock};

/// How many items are kept.
pub const KEPT: usize = 4096;

/// How many items a watcher may be behind.
const BEHIND: usize = 4096;

/// How long an event waits at most until it is read, while somebody watches and while nobody does.
const WATCHED: Duration = Duration::from_millis(50);
const UNWATCHED: Duration = Duration::from_secs(1);

/// The flows of an agent. It may be shared by any threads of its network namespace.
#[derive(Clone)]
pub struct Flows(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Somebody begins to watch.
    watched: Notify,
}

struct State {
    /// Nothing once there are no more to come.
    items: Option<broadcast::Sender<Arc<Item>>>,
    /// Nothing before the programs are loaded.
    reader: Option<FlowReader>,
    per_second: u32,
    kept: VecDeque<Arc<Item>>,
    /// Those of the reader that were told already.
    lost: EventLosses,
    watchers: u32,
    /// Those of them that want to know of all.
    all: u32,
}

/// Somebody who watches, until this is dropped.
pub struct Watcher {
    flows: Flows,
    all: bool,
    items: broadcast::Receiver<Arc<Item>>,
}

impl Flows {
    /// Of programs that are not loaded yet, and that tell of so many connections at most in a second.
    pub fn new(per_second: u32) -> Self {
        let state = State {
            items: Some(broadcast::channel(BEHIND).0),
            reader: None,
            per_second,
            kept: VecDeque::new(),
            lost: EventLosses::default(),
            watchers: 0,
            all: 0,
        };
        let (state, watched) = (Mutex::new(state), Notify::new());
        Self(Arc::new(Inner { state, watched }))
    }

    /// The programs are loaded: from here on they tell.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn source(&self, reader: FlowReader) -> Result<()> {
        let mut state = self.state();
        state.reader = Some(reader);
        state.set()
    }

    /// Reads what the programs have told so far.
    pub fn read(&self) {
        self.state().read();
    }

    /// How long to wait before the next reading, so that the programs find room meanwhile.
    pub fn pause(&self) -> Duration {
        let state = self.state();
        let room = u64::from(FLOW_EVENTS_BYTES / FlowEvent::RECORD);
        // Half of it filled, at the rate that they may tell at.
        let filled = Duration::from_micros(room * 500_000 / u64::from(state.per_second.max(1)));
        let most = if state.watchers > 0 { WATCHED } else { UNWATCHED };
        most.min(filled.max(Duration::from_millis(2)))
    }

    /// What is kept, the oldest first.
    pub fn kept(&self) -> Vec<Arc<Item>> {
        let mut state = self.state();
        state.read();
        state.kept.iter().cloned().collect()
    }

    /// Watches from now on; with what is kept of before. With `all`, connections to ports that no route names are told of too.
    pub fn watch(&self, all: bool) -> (Vec<Arc<Item>>, Watcher) {
        let mut state = self.state();
        state.read();
        // Of one that has ended, the end.
        let items =
            state.items.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe);
        let kept = state.kept.iter().cloned().collect();
        state.watchers += 1;
        state.all += u32::from(all);
        report(state.set());
        self.0.watched.notify_one();
        (kept, Watcher { flows: self.clone(), all, items })
    }

    /// Waits until somebody begins to watch, who is not to wait for the end of a long pause.
    pub async fn watched(&self) {
        self.0.watched.notified().await;
    }

    /// No more are to come: who watches is told.
    pub fn end(&self) {
        self.state().items = None;
    }

    /// How many watch.
    pub fn watchers(&self) -> u32 {
        self.state().watchers
    }

    /// Hands an item on as if the programs had told of it.
    #[cfg(test)]
    pub(crate) fn tell(&self, item: Item) {
        self.state().tell(item);
    }

    /// A thread that panicked left the state as good as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self) -> Result<()> {
        let (per_second, watched, all) =
            (self.per_second, u32::from(self.watchers > 0), u32::from(self.all > 0));
        // To tell of none is to tell of none of these either.
        let all = if per_second == 0 { 0 } else { all };
        match &mut self.reader {
            None => Ok(()),
            Some(reader) => reader.set(EventSettings { per_second, watched, all, pad: 0 }),
        }
    }

    fn read(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        let mut names = Names::new();
        let mut read = Vec::new();
        while let Some(event) = reader.next() {
            read.extend(names.flow(reader, &event).map(Item::Flow));
        }
        if let Ok(lost) = reader.lost() {
            let since = EventLosses {
                rate: lost.rate.saturating_sub(self.lost.rate),
                full: lost.full.saturating_sub(self.lost.full),
            };
            self.lost = lost;
            if since != EventLosses::default() {
                read.push(Item::Lost { rate: since.rate, full: since.full });
            }
        }
        read.into_iter().for_each(|item| self.tell(item));
    }

    fn tell(&mut self, item: Item) {
        let item = Arc::new(item);
        if let Some(items) = &self.items {
            // Nobody watches, perhaps.
            let _ = items.send(item.clone());
        }
        // What somebody wants to see of the traffic that no route concerns would drive out the rest.
        if matches!(*item, Item::Flow(Flow { is_unnamed: true, .. })) {
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(item);
    }
}

impl Watcher {
    /// The next item, until there are no more to come. What came while too many were waiting is lost, and how many they were is
    /// an item itself.
    pub async fn next(&mut self) -> Option<Arc<Item>> {
        loop {
            match self.items.recv().await {
                Ok(item) if self.all || !matches!(*item, Item::Flow(Flow { is_unnamed: true, .. })) => {
                    return Some(item);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(behind)) => {
                    return Some(Arc::new(Item::Behind { items: behind }));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut state = self.flows.state();
        state.watchers -= 1;
        state.all -= u32::from(self.all);
        report(state.set());
    }
}

fn report(result: Result<()>) {
    crate::agent::report::failed(result);
}
