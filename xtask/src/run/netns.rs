//! A network namespace that exists as long as a thread does, and so not longer than this process.

use std::{
    process::{Command, Stdio},
    sync::mpsc::{Sender, channel},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Pid, gettid};

type Job = Box<dyn FnOnce() + Send>;

/// A namespace without a name: the thread in it runs what it is sent.
pub struct Netns {
    jobs: Sender<Job>,
    id: Pid,
}

impl Netns {
    /// Starts the thread, which calls `enter` to make its namespaces.
    pub fn new(enter: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        thread::spawn(move || {
            let entered = enter().map(|()| gettid());
            let _ = tell.send(entered);
            queue.into_iter().for_each(|job| job());
        });
        let id = told.recv().context("start a namespace's thread")??;
        Ok(Self { jobs, id })
    }

    /// The thread's id, under which `nsenter` and `ip link set netns` find the namespace.
    pub fn id(&self) -> Pid {
        self.id
    }

    /// Runs this inside and returns what it returns.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let job = Box::new(move || {
            let _ = tell.send(work());
        });
        let result = self.jobs.send(job).ok().and_then(|()| told.recv().ok());
        result.expect("the namespace's thread runs every job to its end")
    }

    /// Runs a command inside: whether it succeeded, and what it wrote to stdout and stderr.
    pub fn command(&self, line: &str) -> Result<(bool, String, String)> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        let output = self.run(move || command.output()).with_context(|| format!("run {line}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }

    /// Runs commands inside that must succeed.
    pub fn commands(&self, lines: &[&str]) -> Result<()> {
        for line in lines {
            let (success, _, complaint) = self.command(line)?;
            ensure!(success, "{line}: {}", complaint.trim());
        }
        Ok(())
    }
}
