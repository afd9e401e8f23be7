//! The agent: the real binary, as a child that does not outlive its test.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{DEADLINE, summary::Summary, world::Hook};

/// The binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_redirector");

/// The arguments of `redirector run`.
pub fn run_arguments(hook: Hook, interfaces: &str, routes: &[&str]) -> Vec<String> {
    let hook = hook.to_string();
    let fixed = ["run", "--attach", &hook, "--interface", interfaces];
    let routes = routes.iter().flat_map(|route| ["--route", route]);
    fixed.into_iter().chain(routes).map(str::to_owned).collect()
}

/// A running agent.
pub struct Agent {
    child: Child,
    said: Arc<Said>,
    stdout: Option<JoinHandle<String>>,
}

/// The lines that it has written to stderr.
#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Agent {
    /// Starts an agent.
    ///
    /// The calling thread must stay: the kernel kills the agent when it ends.
    pub fn spawn(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self::of(child.expect("run the agent"))
    }

    /// Takes care of one that was started with its output in pipes.
    pub fn of(mut child: Child) -> Self {
        let said = Arc::new(Said::default());
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let listening = said.clone();
        thread::spawn(move || listening.listen(stderr));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        Self { child, said, stdout: Some(thread::spawn(|| read_all(stdout))) }
    }

    /// Waits until it steers.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        self.wait_for("ready:");
    }

    /// Waits for a line that begins so, which it may have written before.
    #[track_caller]
    pub fn wait_for(&self, start: &str) -> String {
        self.wait_for_nth(1, start, |line| line.starts_with(start))
    }

    /// Waits for the nth line of a kind, counted from 1.
    #[track_caller]
    pub fn wait_for_nth(&self, nth: usize, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        let mut said = self.said.lock();
        // Of very many lines each is looked at once.
        let (mut looked_at, mut found) = (0, 0);
        loop {
            for line in &said.lines[looked_at..] {
                found += usize::from(is_it(line));
                if found == nth {
                    return line.clone();
                }
            }
            looked_at = said.lines.len();
            let left = DEADLINE.saturating_sub(begin.elapsed());
            assert!(!said.ended, "the agent ended without saying {what:?}: {:#?}", said.lines);
            assert!(!left.is_zero(), "the agent did not say {what:?}: {:#?}", said.lines);
            said = self.said.wait(said, left);
        }
    }

    /// What it has said so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().lines.clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id is an i32");
        kill(Pid::from_raw(pid), signal).expect("send a signal to the agent");
    }

    /// Ends it as `systemctl stop` does, and returns what it counted.
    #[track_caller]
    pub fn stop(self) -> Summary {
        self.stop_by(Signal::SIGTERM)
    }

    /// Ends it by a signal that it catches, and returns what it counted.
    #[track_caller]
    pub fn stop_by(mut self, signal: Signal) -> Summary {
        self.signal(signal);
        let status = self.wait();
        assert!(status.success(), "the agent's end: {status}");
        Summary::read(&self.output())
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(DEADLINE)
    }

    /// Waits for its end, which may take so long.
    #[track_caller]
    pub fn wait_within(&mut self, time: Duration) -> ExitStatus {
        let begin = Instant::now();
        let mut said = self.said.lock();
        // The end of its stderr is the end of the agent: nobody else writes there.
        while !said.ended {
            let left = time.saturating_sub(begin.elapsed());
            assert!(!left.is_zero(), "the agent did not end: {:#?}", said.lines);
            said = self.said.wait(said, left);
        }
        drop(said);
        self.child.wait().expect("wait for the agent")
    }

    /// What it wrote to stdout, once it has ended.
    pub fn output(&mut self) -> String {
        let reader = self.stdout.take().expect("the agent ends once");
        reader.join().expect("the agent's stdout is read")
    }
}

impl Drop for Agent {
    /// After a failure shows what the agent counted.
    fn drop(&mut self) {
        if self.stdout.is_none() {
            return;
        }
        if thread::panicking() && matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGCONT);
            self.signal(Signal::SIGTERM);
            eprintln!("{}", self.output());
        }
        // Both fail if the agent has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn listen(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("agent: {line}");
            self.add(|said| said.lines.push(line));
        }
        self.add(|said| said.ended = true);
    }

    /// A test that fails while it waits leaves the lines as good as they were.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, lines: MutexGuard<'a, Lines>, within: Duration) -> MutexGuard<'a, Lines> {
        self.more.wait_timeout(lines, within).unwrap_or_else(PoisonError::into_inner).0
    }

    fn add(&self, what: impl FnOnce(&mut Lines)) {
        what(&mut self.lock());
        self.more.notify_all();
    }
}

fn read_all(mut stdout: ChildStdout) -> String {
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("the agent writes UTF-8");
    text
}
