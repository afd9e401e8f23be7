//! A process under the restrictions that a container runtime or systemd puts on it: capabilities, system calls, and
//! a view of the file system in which nothing can be written but what is meant to be.
//!
//! All of them are properties of a thread, which a child inherits. So a thread takes them on, starts the child, and
//! waits for its end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Sender, channel},
    thread,
    time::Instant,
};

use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{prctl, signal::Signal},
    unistd::{chdir, pivot_root},
};
use seccompiler::BpfProgram;

use super::{Agent, DEADLINE, Netns, files::Directory};

/// The restrictions.
pub struct Confinement {
    /// All that the process can have.
    pub capabilities: CapsHashSet,
    /// What it may call.
    pub calls: BpfProgram,
    /// Whether memory that it has written to can never be run.
    pub no_writable_code: bool,
    /// Whether it sees no process but its own.
    pub own_processes: bool,
    /// Whether it has a /tmp of its own.
    pub own_tmp: bool,
    /// What else it finds in the file system, beside /proc, /sys and /dev/null.
    pub files: Vec<Bind>,
}

/// A file or directory that the process finds.
pub struct Bind {
    /// What it is here.
    pub source: PathBuf,
    /// Where the process finds it.
    pub target: PathBuf,
    /// Whether it may write there.
    pub writable: bool,
}

impl Bind {
    /// What the process can only read.
    pub fn readable(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: false }
    }
}

/// A process that was started so.
pub struct Confined {
    /// The process.
    pub agent: Agent,
    _root: Directory,
    /// The kernel kills it when the thread ends that started it.
    _thread: Sender<()>,
}

impl Confinement {
    /// Starts a program in a network namespace. Its environment is what is given, and nothing else.
    pub fn start(self, netns: &Netns, line: &[String], environment: &[(&str, String)]) -> Confined {
        let (netns, line) = (netns.clone(), line.to_vec());
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let root = Directory::new();
        let at = root.path().to_owned();
        let (tell, started) = channel();
        let (hold, held) = channel();
        thread::spawn(move || {
            let mut command = Command::new(&line[0]);
            command.args(&line[1..]).env_clear().envs(environment);
            self.confine(&netns, &at);
            tell.send(self.spawn(command).expect("start the process")).expect("the test waits for it");
            // Ends when the test does.
            let _ = held.recv();
        });
        let child = started.recv().expect("the process starts");
        Confined { agent: Agent::of(child), _root: root, _thread: hold }
    }

    /// Puts the calling thread into the namespaces. Its own capabilities are limited only when it runs another program.
    fn confine(&self, netns: &Netns, root: &Path) {
        setns(netns, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
        unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
        self.enter(root);
        for set in [CapSet::Ambient, CapSet::Inheritable] {
            caps::clear(None, set).expect("clear a set of capabilities");
        }
        for capability in caps::all().difference(&self.capabilities) {
            // The kernel does not know those that are newer than itself.
            if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, *capability).expect("drop a capability");
            }
        }
    }

    /// Makes a root of the files and goes there.
    fn enter(&self, root: &Path) {
        const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
        set("", Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        make("tmpfs", root, MsFlags::MS_NOSUID);
        for directory in ["proc", "sys", "tmp"] {
            fs::create_dir(root.join(directory)).expect("make a directory");
        }
        make("sysfs", &root.join("sys"), QUIET | MsFlags::MS_RDONLY);
        if self.own_tmp {
            make("tmpfs", &root.join("tmp"), QUIET);
        }
        let null = Bind { source: "/dev/null".into(), target: "/dev/null".into(), writable: true };
        for Bind { source, target, writable } in self.files.iter().chain([&null]) {
            let target = root.join(target.strip_prefix("/").expect("where it is found is an absolute path"));
            let source =
                fs::canonicalize(source).unwrap_or_else(|error| panic!("find {}: {error}", source.display()));
            fs::create_dir_all(target.parent().expect("it is in a directory")).expect("make a directory");
            match source.is_dir() {
                true => fs::create_dir_all(&target).expect("make a directory"),
                false => drop(File::create(&target).expect("make a file")),
            }
            let source = source.to_str().expect("a path is UTF-8");
            set(source, &target, MsFlags::MS_BIND);
            if !writable {
                set("", &target, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
            }
        }
        set("", root, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        // The new root on top of the old, and then the old one away (pivot_root(2)).
        chdir(root).expect("go to the new root");
        pivot_root(".", ".").expect("make it the root");
        umount2(".", MntFlags::MNT_DETACH).expect("leave the old root");
        chdir("/").expect("go to the root");
    }

    /// Starts the command from the calling thread.
    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let (calls, no_writable_code) = (self.calls.clone(), self.no_writable_code);
        let restrict = move || {
            // Of the child's own processes, so that it cannot be mounted before.
            mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID, None::<&str>)?;
            mount(Some("/proc/sys"), "/proc/sys", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, "/proc/sys", None::<&str>, read_only, None::<&str>)?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            prctl::set_no_new_privs()?;
            if no_writable_code {
                // SAFETY: this takes numbers only.
                let result =
                    unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0_u64, 0_u64, 0_u64) };
                if result != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            // The last, for what was called until here may be what it refuses.
            seccompiler::apply_filter(&calls).map_err(|_| io::ErrorKind::PermissionDenied.into())
        };
        // SAFETY: between fork and exec this makes system calls and allocates nothing; paths are short enough to be
        // terminated on the stack.
        unsafe { command.pre_exec(restrict) };
        if self.own_processes {
            unshare(CloneFlags::CLONE_NEWPID)?;
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

/// include/uapi/linux/prctl.h, since Linux 6.3
const PR_SET_MDWE: libc::c_int = 65;
/// As above.
const PR_MDWE_REFUSE_EXEC_GAIN: u64 = 1;

/// Asserts what /proc says of a process: that it has these capabilities and can have no others, that system calls are
/// refused, and that it can write nowhere but in these directories.
#[track_caller]
pub fn assert_confined(pid: u32, capabilities: &CapsHashSet, writable: &[&str]) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read a process's status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
    };
    let set = |name| u64::from_str_radix(field(name), 16).expect("a set of bits");
    let expected = capabilities.iter().map(Capability::bitmask).fold(0, |set, bit| set | bit);
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(set(name), expected, "{name} of {capabilities:?}");
    }
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(set(name), 0, "{name}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    // include/uapi/linux/seccomp.h: SECCOMP_MODE_FILTER
    assert_eq!(field("Seccomp"), "2");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("read a process's mounts");
    // proc_pid_mountinfo(5): the fifth word is where it is, the sixth how.
    let mounts = mounts.lines().map(|line| line.split(' ').skip(4).take(2).collect::<Vec<_>>());
    let found = mounts.filter(|mount| mount[1].split(',').any(|option| option == "rw"));
    let found: BTreeSet<_> = found.map(|mount| mount[0].to_owned()).collect();
    // Processes' own files, and a device.
    let always = ["/proc", "/dev/null"];
    let expected: BTreeSet<_> = writable.iter().chain(&always).map(|&path| path.to_owned()).collect();
    assert_eq!(found, expected, "what can be written to");
}

fn make(kind: &str, target: &Path, flags: MsFlags) {
    mount(Some(kind), target, Some(kind), flags, None::<&str>)
        .unwrap_or_else(|error| panic!("mount {kind} at {}: {error}", target.display()));
}

fn set(source: &str, target: &Path, flags: MsFlags) {
    let begin = Instant::now();
    loop {
        match mount(Some(source), target, None::<&str>, flags, None::<&str>) {
            // Read-only it cannot be while the kernel has yet to let go of a file that was written to.
            Err(Errno::EBUSY) if begin.elapsed() < DEADLINE => thread::yield_now(),
            result => {
                return result
                    .unwrap_or_else(|error| panic!("mount {source} at {}: {error}", target.display()));
            }
        }
    }
}
