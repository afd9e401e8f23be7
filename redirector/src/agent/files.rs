//! Notice of configuration files that change.

use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::config;

/// The directories of the files, watched: a mounted ConfigMap changes by a link in its directory, editors by a new file that
/// takes the place of the old one.
pub struct Files {
    /// `None` where they cannot be watched: SIGHUP remains.
    events: Option<(RecommendedWatcher, mpsc::Receiver<()>)>,
}

impl Files {
    /// Begins to watch.
    pub fn watch(config: Option<&Path>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let notice = move |event: notify::Result<notify::Event>| {
            // What is only read is the agent's own doing.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Full: a notice is on its way already.
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(notice).and_then(|mut watcher| {
            let mut watched = 0;
            for directory in directories(config) {
                if directory.is_dir() {
                    watcher.watch(&directory, RecursiveMode::NonRecursive)?;
                    watched += 1;
                }
            }
            Ok((watched > 0).then_some(watcher))
        });
        let events = watcher.unwrap_or_else(|error| {
            eprintln!("warning: configuration files are not watched, send SIGHUP when they change: {error}");
            None
        });
        Self { events: events.map(|watcher| (watcher, receiver)) }
    }

    /// Waits until files may have changed.
    pub async fn changed(&mut self) {
        let Some((_, receiver)) = &mut self.events else { return std::future::pending().await };
        if receiver.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The directory of the main file, and its `conf.d`.
fn directories(config: Option<&Path>) -> [PathBuf; 2] {
    let main = config.unwrap_or(Path::new(config::DEFAULT));
    let directory = main.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    [directory.to_owned(), directory.join("conf.d")]
}
