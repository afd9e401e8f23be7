//! Notice of configuration files that change.

use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::config;

/// The directories of the files, watched: a mounted ConfigMap changes by a link in its directory, editors by a new file that
/// takes the place of the old one.
pub struct Files {
    directory: PathBuf,
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
        let directory = directory(config);
        let watcher = notify::recommended_watcher(notice).and_then(|mut watcher| {
            if !directory.is_dir() {
                return Ok(None);
            }
            watcher.watch(&directory, RecursiveMode::NonRecursive)?;
            Ok(Some(watcher))
        });
        let watcher = watcher.unwrap_or_else(|error| {
            tracing::warn!("configuration files are not watched, send SIGHUP when they change: {error}");
            None
        });
        let mut files = Self { directory, events: watcher.map(|watcher| (watcher, receiver)) };
        files.watch_conf_d();
        files
    }

    /// Waits until files may have changed.
    pub async fn changed(&mut self) {
        let Some((_, receiver)) = &mut self.events else { return std::future::pending().await };
        if receiver.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.watch_conf_d();
    }

    /// Watches `conf.d`, which may have come since, or be another directory by now if it is a link.
    fn watch_conf_d(&mut self) {
        let Some((watcher, _)) = &mut self.events else { return };
        let conf_d = self.directory.join("conf.d");
        // One that was never watched cannot be given up.
        let _ = watcher.unwatch(&conf_d);
        if conf_d.is_dir()
            && let Err(error) = watcher.watch(&conf_d, RecursiveMode::NonRecursive)
        {
            tracing::warn!("{} is not watched, send SIGHUP when it changes: {error}", conf_d.display());
        }
    }
}

/// The directory of the main file.
fn directory(config: Option<&Path>) -> PathBuf {
    let main = config.unwrap_or(Path::new(config::DEFAULT));
    let parent = main.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}
