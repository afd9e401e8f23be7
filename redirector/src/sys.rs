//! System calls that no library here wraps.

use std::{io, mem::size_of, net::UdpSocket, os::fd::AsRawFd as _};

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

/// Whether the calling thread has CAP_PERFMON, or CAP_SYS_ADMIN, which includes it.
pub fn has_cap_perfmon() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    // A kernel that does not tell is not blamed on the caller.
    set.is_none_or(|set| set & (1 << CAP_PERFMON | 1 << CAP_SYS_ADMIN) != 0)
}

/// include/uapi/linux/capability.h
const CAP_SYS_ADMIN: u32 = 21;
/// As above.
const CAP_PERFMON: u32 = 38;
