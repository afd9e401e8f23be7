//! BPF programs of whoever: what is attached where, what is known of a program, and what is pinned.
//!
//! By id, for it is by id that the kernel tells them; to open one takes CAP_SYS_ADMIN.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use super::{
    bpf::{bpf, by_id, command, describe, new_descriptor},
    links::{LinkFacts, describe_link},
};

/// Where programs are attached (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AttachType {
    /// The listener look-up of a network namespace.
    SkLookup = 36,
    /// TCX, what an interface receives.
    TcxIngress = 46,
    /// TCX, what an interface sends.
    TcxEgress = 47,
}

/// The ids of what is attached to an interface by TCX, first to run first: program, and link if it has one.
///
/// # Errors
///
/// The kernel's; EINVAL where it has no TCX (before 6.6).
pub fn tcx_programs(ifindex: u32, at: AttachType) -> io::Result<Vec<(u32, Option<u32>)>> {
    match query(ifindex, at) {
        // No program was ever attached there (kernel/bpf/tcx.c, tcx_prog_query).
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        result => result,
    }
}

/// The ids of the `sk_lookup` programs of a network namespace, first to run first.
///
/// # Errors
///
/// The kernel's.
pub fn sk_lookup_programs(netns: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let attached = query(netns.as_raw_fd() as u32, AttachType::SkLookup)?;
    Ok(attached.into_iter().map(|(program, _)| program).collect())
}

/// BPF_MPROG_MAX: no hook holds more.
const MOST: usize = 64;

#[repr(C)]
struct Query {
    /// A network namespace's descriptor, or an ifindex.
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

fn query(target: u32, at: AttachType) -> io::Result<Vec<(u32, Option<u32>)>> {
    let mut programs = [0_u32; MOST];
    let mut links = [0_u32; MOST];
    let mut attribute = Query {
        target,
        attach_type: at as u32,
        query_flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: MOST as u32,
        pad: 0,
        program_flags: 0,
        // A network namespace tells no links, and refuses a size that reaches to them before 6.6.
        links: if at == AttachType::SkLookup { 0 } else { links.as_mut_ptr() as u64 },
        link_flags: 0,
        revision: 0,
    };
    bpf(command::PROG_QUERY, &mut attribute)?;
    let both = programs.into_iter().zip(links).take(attribute.count as usize);
    Ok(both.map(|(program, link)| (program, Some(link).filter(|link| *link != 0))).collect())
}

/// What the kernel tells of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its number, unique while the host runs.
    pub id: u32,
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: String,
    /// The ids of its maps.
    pub maps: Vec<u32>,
}

/// The program with this id.
///
/// # Errors
///
/// The kernel's; ENOENT where there is none, EPERM without CAP_SYS_ADMIN.
pub fn program(id: u32) -> io::Result<ProgramFacts> {
    describe_program(&by_id(command::PROG_GET_FD_BY_ID, id)?)
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Default)]
#[repr(C)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    uid: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}
const _: () = assert!(size_of::<ProgramInfo>() == 80);

fn describe_program(program: &OwnedFd) -> io::Result<ProgramFacts> {
    let mut info = ProgramInfo::default();
    describe(program, &mut info)?;
    let mut maps = vec![0_u32; info.map_count as usize];
    let mut info =
        ProgramInfo { map_count: info.map_count, maps: maps.as_mut_ptr() as u64, ..ProgramInfo::default() };
    describe(program, &mut info)?;
    maps.truncate(info.map_count as usize);
    let end = info.name.iter().position(|byte| *byte == 0).unwrap_or(info.name.len());
    Ok(ProgramFacts { id: info.id, name: String::from_utf8_lossy(&info.name[..end]).into_owned(), maps })
}

/// What is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// A program.
    Program(ProgramFacts),
    /// A link.
    Link(LinkFacts),
    /// A map, by its id.
    Map(u32),
}

/// What is pinned at a path in a bpffs.
///
/// # Errors
///
/// The kernel's.
pub fn pinned(path: &Path) -> io::Result<Pinned> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = [name.as_ptr() as u64, 0];
    let object = new_descriptor(command::OBJ_GET, &mut attribute)?;
    // An information of one kind read as that of another is nonsense: the descriptor's name tells which it is.
    let kind = std::fs::read_link(format!("/proc/thread-self/fd/{}", object.as_raw_fd()))?;
    match kind.as_os_str().as_bytes() {
        b"anon_inode:bpf-prog" => Ok(Pinned::Program(describe_program(&object)?)),
        b"anon_inode:bpf-map" => {
            // `struct bpf_map_info` begins with kind and id.
            let mut info = [0_u32; 2];
            describe(&object, &mut info)?;
            Ok(Pinned::Map(info[1]))
        }
        // With an underscore until 6.11, as bpf-link since.
        _ => Ok(Pinned::Link(describe_link(&object)?)),
    }
}
