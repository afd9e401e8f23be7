//! Ctrl-C, SIGTERM and SIGHUP, and the end of stdin.

use std::{
    io,
    process::exit,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// The user's wish to end.
pub struct End {
    waiting: Arc<AtomicBool>,
    tell: Sender<()>,
    told: Receiver<()>,
}

impl End {
    /// From now on a signal ends this process and with it everything made here, except while [`End::wait`] waits.
    ///
    /// To be called before there are other threads: these inherit which signals are blocked.
    pub fn catch() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("block signals")?;
        let waiting = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let end = Self { waiting: waiting.clone(), tell: tell.clone(), told };
        thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                if !waiting.swap(false, Ordering::Relaxed) {
                    eprintln!("\nxtask: ended by {signal}; the namespaces and all that was in them are gone");
                    exit(128 + signal as i32);
                }
                let _ = tell.send(());
            }
        });
        Ok(end)
    }

    /// Waits for a signal or the end of stdin.
    pub fn wait(&self) -> Result<()> {
        self.waiting.store(true, Ordering::Relaxed);
        let tell = self.tell.clone();
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = tell.send(());
        });
        self.told.recv().context("wait for the end")?;
        self.waiting.store(false, Ordering::Relaxed);
        Ok(())
    }
}
