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

/// The user's wish to end.
pub struct End {
    waiting: Arc<AtomicBool>,
    tell: Sender<()>,
    told: Receiver<()>,
}

impl End {
    /// From now on a signal ends this process and with it everything made here, except while [`End::wait`] waits.
    pub fn catch() -> Result<Self> {
        let waiting = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let end = Self { waiting: waiting.clone(), tell: tell.clone(), told };
        ctrlc::set_handler(move || {
            if !waiting.swap(false, Ordering::Relaxed) {
                eprintln!("\nxtask: interrupted; the namespaces and all that was in them are gone");
                // As a shell reports a program that SIGINT ended.
                exit(130);
            }
            let _ = tell.send(());
        })
        .context("catch signals")?;
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
