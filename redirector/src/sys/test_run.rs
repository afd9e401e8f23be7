//! Test runs of a program that is known by its descriptor alone.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::bpf::{bpf, command};

/// `struct { … } test` of `union bpf_attr`.
#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    packet_length: u32,
    packet_out_length: u32,
    packet: u64,
    packet_out: u64,
    repeat: u32,
    duration: u32,
    context_length: u32,
    context_out_length: u32,
    context: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
}

/// `struct __sk_buff` (include/uapi/linux/bpf.h), as far as a test run takes it from its caller.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Context {
    before_mark: [u32; 2],
    mark: u32,
    before_ifindex: [u32; 7],
    ifindex: u32,
    before_cb: u32,
    /// Words for programs among themselves.
    pub cb: [u32; 5],
    behind_cb: [u32; 31],
}
const _: () = assert!(size_of::<Context>() == 192);

impl Context {
    /// Of a packet with this mark that came by this interface; 0 stands for the loopback device.
    pub fn new(mark: u32, ifindex: u32, cb: [u32; 5]) -> Self {
        Self { mark, ifindex, cb, ..Self::default() }
    }
}

/// Runs a program once, with this packet and this context, which is then what the program left of it, in the network
/// namespace of the calling thread. Returns what it returned.
///
/// # Errors
///
/// The kernel's.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], context: &mut Context) -> io::Result<u32> {
    let mut attribute = TestRun {
        program: program.as_raw_fd() as u32,
        result: 0,
        packet_length: packet.len() as u32,
        packet_out_length: 0,
        packet: packet.as_ptr() as u64,
        packet_out: 0,
        repeat: 1,
        duration: 0,
        context_length: size_of::<Context>() as u32,
        context_out_length: size_of::<Context>() as u32,
        context: &raw const *context as u64,
        context_out: &raw mut *context as u64,
        flags: 0,
        cpu: 0,
    };
    bpf(command::PROG_TEST_RUN, &mut attribute)?;
    Ok(attribute.result)
}
