//! The agent as a child process that does not outlive this one.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long the agent may take to steer traffic, and to end.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running agent.
pub struct Agent {
    child: Child,
    lines: Receiver<String>,
}

impl Agent {
    /// Starts the agent in the calling thread's namespaces and waits until it steers traffic.
    ///
    /// The calling thread must stay: the kernel kills the agent when it ends.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        // A process group of its own: Ctrl-C is for this process, which then stops the agent in good order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
        let (tell, lines) = channel();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            show(stdout, tell.clone());
            show(stderr, tell);
        }
        let agent = Self { child, lines };
        if !agent.wait_for("ready")? {
            bail!("the agent ended before it was ready");
        }
        Ok(agent)
    }

    /// Ends the agent as Ctrl-C does.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).context("read the agent's process id")?;
        kill(Pid::from_raw(pid), Signal::SIGINT).context("send SIGINT to the agent")?;
        while self.wait_for("")? {}
        self.child.wait().context("wait for the agent")
    }

    /// Waits for a line that starts so; false if the agent has closed its output.
    fn wait_for(&self, start: &str) -> Result<bool> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(start) => return Ok(true),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the agent took longer than {} s", DEADLINE.as_secs())
                }
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail if the agent has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows what the agent writes, from now to its end, and tells each line.
fn show(output: impl Read + Send + 'static, tell: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("   | {line}");
            let _ = tell.send(line);
        }
    });
}
