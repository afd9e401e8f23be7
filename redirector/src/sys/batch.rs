//! Maps read and written many entries at a time: a system call for each of a hundred thousand takes a tenth of a second.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;

use super::bpf::{bpf, command};

/// Entries that one call copies at most. A bucket of a hash map has to fit.
const ENTRIES: usize = 1024;

/// `struct { … } batch` of `union bpf_attr`.
#[repr(C)]
struct Batch {
    begin: u64,
    end: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Hands every entry's key and values to `each`, until it says that it has seen enough: of an array by ascending index,
/// of other maps in no order. `values` is how many a key has: of a map by CPU one for each possible CPU, whose size is
/// then a multiple of 8, and else one.
///
/// # Errors
///
/// The kernel's; ENOTSUPP where it reads this kind of map one by one only (arrays by CPU before 5.13).
pub fn entries<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    values: usize,
    mut each: impl FnMut(&K, &[V]) -> bool,
) -> io::Result<()> {
    let mut key_buffer = vec![zero::<K>(); ENTRIES];
    let mut value_buffer = vec![zero::<V>(); ENTRIES * values];
    // Where the last batch ended: a key, or of a hash map the number of a bucket.
    let mut place = vec![0_u8; size_of::<K>().max(size_of::<u32>())];
    let mut begun = false;
    loop {
        let mut batch = Batch {
            begin: if begun { place.as_ptr() as u64 } else { 0 },
            end: place.as_mut_ptr() as u64,
            keys: key_buffer.as_mut_ptr() as u64,
            values: value_buffer.as_mut_ptr() as u64,
            count: ENTRIES as u32,
            map: map.as_raw_fd() as u32,
            element_flags: 0,
            flags: 0,
        };
        // With the last entries of a map the kernel answers that there are no more.
        let last = match bpf(command::MAP_LOOKUP_BATCH, &mut batch) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            result => result.map(|()| false)?,
        };
        begun = true;
        let read = key_buffer.iter().zip(value_buffer.chunks_exact(values)).take(batch.count as usize);
        for (key, values) in read {
            if !each(key, values) {
                return Ok(());
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// Writes entries in their order, each with its key and values as above.
///
/// # Errors
///
/// The kernel's, of the first entry that it refused; those before are written.
pub fn update<K: Pod, V: Pod, C: AsRef<[V]>>(
    map: BorrowedFd<'_>,
    entries: impl IntoIterator<Item = (K, C)>,
) -> io::Result<()> {
    let mut entries = entries.into_iter();
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    loop {
        keys.clear();
        values.clear();
        for (key, all) in entries.by_ref().take(ENTRIES) {
            keys.push(key);
            values.extend_from_slice(all.as_ref());
        }
        if keys.is_empty() {
            return Ok(());
        }
        let mut batch = Batch {
            begin: 0,
            end: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: keys.len() as u32,
            map: map.as_raw_fd() as u32,
            element_flags: 0,
            flags: 0,
        };
        bpf(command::MAP_UPDATE_BATCH, &mut batch)?;
    }
}

fn zero<T: Pod>() -> T {
    // SAFETY: plain old data: every bit pattern is a value.
    unsafe { std::mem::zeroed() }
}
