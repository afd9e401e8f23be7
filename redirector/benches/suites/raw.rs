//! bpf(2) for programs of a few instructions, and for test runs of any.

use std::{
    ffi::{CStr, c_long},
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use crate::packet::Segment;

/// One instruction (include/uapi/linux/bpf.h, `struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// `register = immediate`
const fn set(register: u8, immediate: i32) -> Instruction {
    instruction(0xb7, register, 0, immediate)
}

/// `to = from`
const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, from << 4 | to, 0, 0)
}

const fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, helper)
}

const EXIT: Instruction = instruction(0x95, 0, 0, 0);
/// bpf_sk_release and bpf_skc_lookup_tcp
const RELEASE: i32 = 86;
const LOOK_UP: i32 = 99;
/// TCX_NEXT
const NEXT: i32 = -1;

/// A program that does nothing.
pub fn empty() -> io::Result<OwnedFd> {
    load(&[set(0, NEXT), EXIT])
}

/// A program that looks up the socket of a segment, and returns 0 if there is none.
pub fn socket_look_up(segment: Segment) -> io::Result<OwnedFd> {
    let mut tuple = Vec::new();
    for address in [segment.source, segment.destination] {
        match address.ip() {
            IpAddr::V4(address) => tuple.extend(address.octets()),
            IpAddr::V6(address) => tuple.extend(address.octets()),
        }
    }
    tuple.extend(segment.source.port().to_be_bytes());
    tuple.extend(segment.destination.port().to_be_bytes());

    let length = tuple.len() as i32;
    let mut program = Vec::new();
    for (offset, word) in (0..).step_by(4).zip(tuple.chunks_exact(4)) {
        let word = i32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        // *(u32 *)(r10 - length + offset) = word
        program.push(instruction(0x62, 10, offset - length as i16, word));
    }
    program.extend([
        copy(2, 10),
        instruction(0x07, 2, 0, -length), // r2 -= length
        set(3, length),
        set(4, -1), // BPF_F_CURRENT_NETNS
        set(5, 0),
        call(LOOK_UP),
        instruction(0x15, 0, 3, 0), // if there is none, to the end
        copy(1, 0),
        call(RELEASE),
        set(0, NEXT),
        EXIT,
    ]);
    load(&program)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    const LICENSE: &CStr = c"Dual MIT/GPL";
    const PROG_LOAD: c_long = 5;
    let mut attributes = LoadAttributes {
        kind: 3, // BPF_PROG_TYPE_SCHED_CLS
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
    };
    let fd = bpf(PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to TCX ingress of an interface in the calling thread's namespace, until the link is dropped.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    const LINK_CREATE: c_long = 28;
    let mut attributes = LinkAttributes {
        program: program.as_raw_fd() as u32,
        ifindex,
        kind: 46, // BPF_TCX_INGRESS
        flags: 0,
    };
    let fd = bpf(LINK_CREATE, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What came of a test run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub return_value: u32,
    /// Of one repetition.
    pub nanoseconds: u32,
}

/// Runs a program on a packet so many times.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> io::Result<Run> {
    const PROG_TEST_RUN: c_long = 10;
    let mut attributes = TestRunAttributes {
        program: program.as_raw_fd() as u32,
        length: packet.len() as u32,
        packet: packet.as_ptr() as u64,
        repeat,
        ..TestRunAttributes::default()
    };
    bpf(PROG_TEST_RUN, &mut attributes)?;
    Ok(Run { return_value: attributes.return_value, nanoseconds: attributes.nanoseconds })
}

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest as zero.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

/// The beginning of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    ifindex: u32,
    kind: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRunAttributes {
    program: u32,
    return_value: u32,
    length: u32,
    length_out: u32,
    packet: u64,
    packet_out: u64,
    repeat: u32,
    nanoseconds: u32,
}

fn bpf<T>(command: c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are live, are as long as is said, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
