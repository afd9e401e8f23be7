//! System calls that no library here wraps.

pub mod batch;
mod bpf;
pub mod links;
pub mod memory;
pub mod objects;
mod test_run;

use std::{
    ffi::CString,
    io,
    mem::size_of,
    net::UdpSocket,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

pub use test_run::{Context, test_run};

/// The cookie of the calling thread's network namespace: unique until the host reboots.
///
/// # Errors
///
/// The kernel's; it knows the option since 5.14 (e8b9eab99232, "net: retrieve netns cookie via getsocketopt").
pub fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the socket is open, and value and length are live and agree.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// include/uapi/asm-generic/socket.h
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Lets a socket hold so many bytes that were not received yet, whatever the limit for ordinary sockets is.
///
/// # Errors
///
/// The kernel's; EPERM without CAP_NET_ADMIN.
pub fn force_receive_room(socket: &impl AsRawFd, bytes: u32) -> io::Result<()> {
    // SAFETY: the socket is open, and value and length are live and agree.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets this process open as many descriptors as it may let itself: at TCX each captured interface takes one, and the
/// usual limit is 1024.
///
/// # Errors
///
/// The kernel's.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is live.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the calling thread has CAP_PERFMON, or CAP_SYS_ADMIN, which includes it.
pub fn has_cap_perfmon() -> bool {
    has_capability(CAP_PERFMON) || has_capability(CAP_SYS_ADMIN)
}

/// Whether the calling thread has a capability now. A kernel that does not tell is not blamed on the caller.
pub fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_none_or(|set| set & (1 << number) != 0)
}

/// include/uapi/linux/capability.h
pub const CAP_NET_ADMIN: u32 = 12;
/// As above.
pub const CAP_SYS_ADMIN: u32 = 21;
/// As above.
pub const CAP_PERFMON: u32 = 38;
/// As above.
pub const CAP_BPF: u32 = 39;

/// Waits until every program that was running when this was called has ended: then none is on its way with what it read
/// before (kernel/sched/membarrier.c, membarrier: synchronize_rcu). That takes some milliseconds.
///
/// # Errors
///
/// The kernel's; ENOSYS where it was built without.
pub fn grace_period() -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// include/uapi/linux/membarrier.h
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// The kind of the filesystem that a path is on: a number of include/uapi/linux/magic.h.
///
/// # Errors
///
/// The kernel's.
pub fn filesystem_kind(path: &Path) -> io::Result<i64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zero bytes are a value of this plain structure.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in a zero byte and both are live.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut facts) };
    if result == 0 { Ok(facts.f_type as i64) } else { Err(io::Error::last_os_error()) }
}

/// Size of a page of memory, in bytes.
pub fn page_size() -> u64 {
    // SAFETY: it reads a constant of the process.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// The monotonic clock, which programs read as `bpf_ktime_get_ns`.
pub fn monotonic_clock() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is live, and the clock is one that every kernel has.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Hours, minutes and seconds of a time as it is told here: by `TZ`, or else by /etc/localtime. In Unix time, seconds.
pub fn local_time(seconds: i64) -> [i32; 3] {
    // SAFETY: all zero bytes are a value of this plain structure.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are live; what it cannot tell it leaves as it is.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
    [parts.tm_hour, parts.tm_min, parts.tm_sec]
}

/// The name of an interface of the calling thread's network namespace.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: there is room for the longest name.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let end = name.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// The effective user of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// The supplementary groups of the process at the other end of a Unix socket, as they were when it connected.
///
/// # Errors
///
/// The kernel's; it knows the option since 4.13 (28b5ba2aa0f5, "net: introduce SO_PEERGROUPS getsockopt").
pub fn peer_groups(socket: BorrowedFd) -> io::Result<Vec<u32>> {
    /// What a process can be in (include/uapi/linux/limits.h, NGROUPS_MAX).
    const MOST: usize = 65_536;
    let mut groups = vec![0_u32; MOST];
    let mut length = (MOST * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: the socket is open, and value and length are live and agree.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    Ok(groups)
}
