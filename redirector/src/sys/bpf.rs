//! bpf(2), for what aya has no words for.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// Commands (include/uapi/linux/bpf.h, `enum bpf_cmd`).
pub mod command {
    pub const OBJ_GET: libc::c_long = 7;
    pub const PROG_TEST_RUN: libc::c_long = 10;
    pub const PROG_GET_FD_BY_ID: libc::c_long = 13;
    pub const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    pub const PROG_QUERY: libc::c_long = 16;
    pub const MAP_LOOKUP_BATCH: libc::c_long = 24;
    pub const MAP_UPDATE_BATCH: libc::c_long = 26;
    pub const LINK_CREATE: libc::c_long = 28;
    pub const LINK_UPDATE: libc::c_long = 29;
    pub const LINK_GET_FD_BY_ID: libc::c_long = 30;
    pub const LINK_GET_NEXT_ID: libc::c_long = 31;
    pub const LINK_DETACH: libc::c_long = 34;
    pub const PROG_BIND_MAP: libc::c_long = 35;
}

#[repr(C)]
struct Describe {
    object: u32,
    length: u32,
    information: u64,
}

/// Reads the beginning of what the kernel tells of an object, as long as `information` is.
pub fn describe<T>(object: &OwnedFd, information: &mut T) -> io::Result<()> {
    let mut attribute = Describe {
        object: object.as_raw_fd() as u32,
        length: size_of::<T>() as u32,
        information: &raw mut *information as u64,
    };
    bpf(command::OBJ_GET_INFO_BY_FD, &mut attribute)
}

/// Opens an object by its id.
pub fn by_id(command: libc::c_long, id: u32) -> io::Result<OwnedFd> {
    new_descriptor(command, &mut [id, 0, 0])
}

/// A command whose result is a descriptor.
pub fn new_descriptor<T>(command: libc::c_long, attribute: &mut T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attribute)?;
    // SAFETY: these commands return a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A command whose result says no more than that it was done.
pub fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<()> {
    call(command, attribute).map(drop)
}

fn call<T>(command: libc::c_long, attribute: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the attribute is live and so long; what it points to is live and as long as it says, at every caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
