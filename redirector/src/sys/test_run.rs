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

/// Runs a program once, with this packet and this context, in the network namespace of the calling thread. Returns what
/// it returned.
///
/// # Errors
///
/// The kernel's.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], context: &[u8]) -> io::Result<u32> {
    let mut attribute = TestRun {
        program: program.as_raw_fd() as u32,
        result: 0,
        packet_length: packet.len() as u32,
        packet_out_length: 0,
        packet: packet.as_ptr() as u64,
        packet_out: 0,
        repeat: 1,
        duration: 0,
        context_length: context.len() as u32,
        context_out_length: 0,
        context: context.as_ptr() as u64,
        context_out: 0,
        flags: 0,
        cpu: 0,
    };
    bpf(command::PROG_TEST_RUN, &mut attribute)?;
    Ok(attribute.result)
}
