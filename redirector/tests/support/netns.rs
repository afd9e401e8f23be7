//! A network namespace that is held by a file descriptor.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::process::CommandExt as _,
    },
    panic,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

/// A namespace without a name. It goes when this and everything inside is gone.
#[derive(Clone)]
pub struct Netns {
    name: &'static str,
    file: Arc<File>,
    state: Arc<StateDirectory>,
}

/// Where an agent in here has its socket and its state, which goes with the namespace.
struct StateDirectory(PathBuf);

impl StateDirectory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("redirector-test-state-{}-{number}", process::id())))
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        // The agent makes it, if there was one.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Netns {
    /// Makes a namespace; the name is for messages only. Its loopback device is up.
    pub fn new(name: &'static str) -> Self {
        // A namespace belongs to a thread. This one is thrown away, so that none comes back in the wrong place.
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
            // Not /proc/self: that is the first thread's.
            File::open("/proc/thread-self/ns/net").expect("open the network namespace")
        });
        let file = file.join().expect("the thread made a namespace");
        let netns = Self { name, file: Arc::new(file), state: Arc::new(StateDirectory::new()) };
        netns.ip("link set lo up");
        netns
    }

    /// What messages call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The state directory of an agent in here.
    pub fn state_dir(&self) -> &Path {
        &self.state.0
    }

    /// A path to it for `ip link … netns PATH` and `nsenter --net=PATH`, good while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }

    /// Runs this inside, on a thread of its own, and returns what it returns. Sockets that are made in there stay
    /// in there, wherever they are used.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
            work()
        };
        let result = thread::scope(|scope| scope.spawn(inside).join());
        result.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// A command that will run inside. The kernel kills the child when the thread that spawned it ends.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        // Tests run side by side, each with its agents, and the filesystem is the same.
        command.env("REDIRECTOR_STATE_DIR", self.state_dir());
        let file = self.file.clone();
        let enter = move || {
            setns(&*file, CloneFlags::CLONE_NEWNET)?;
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: between fork and exec this makes two system calls and allocates nothing.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs a command inside, which must succeed, and returns what it writes to stdout.
    pub fn output(&self, line: &str) -> String {
        let (success, output, complaint) = self.try_output(line);
        assert!(success, "in {}: {line}: {}", self.name, complaint.trim());
        output
    }

    /// Runs a command inside: whether it succeeded, and what it wrote to stdout and stderr.
    pub fn try_output(&self, line: &str) -> (bool, String, String) {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a command has a name"));
        let output = command.args(words).output().unwrap_or_else(|error| panic!("run {line}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs `ip` commands, one a line, all of which must succeed.
    pub fn ip(&self, lines: &str) {
        let lines: Vec<_> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run ip");
        let mut input = child.stdin.take().expect("stdin is a pipe");
        input.write_all((lines.join("\n") + "\n").as_bytes()).expect("write to ip");
        drop(input);
        let output = child.wait_with_output().expect("wait for ip");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "in {}: ip: {complaint} of {lines:#?}", self.name);
    }

    /// Sets a sysctl of the namespace, such as `ipv4/ip_forward`.
    pub fn set_sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        let written = self.run(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("in {}: write {value} to {path}: {error}", self.name));
    }
}
