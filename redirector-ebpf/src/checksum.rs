//! The Internet checksum (RFC 1071). Words are taken as they lie in memory: their order makes no difference to the sum.

use aya_ebpf::helpers::bpf_csum_diff;

/// The sum of a value's words; its length is a multiple of four bytes.
#[inline(always)]
pub fn sum<T>(value: &T, seed: u32) -> Result<u32, i64> {
    sum_of_first(value, size_of::<T>(), seed)
}

/// The sum of the words of a value's first bytes.
///
/// # Errors
///
/// Their number is not a multiple of four.
#[inline(always)]
pub fn sum_of_first<T>(value: &T, length: usize, seed: u32) -> Result<u32, i64> {
    let to = core::ptr::from_ref(value).cast_mut().cast();
    // SAFETY: the helper reads the value; the verifier checks the length against it.
    match unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, to, length as u32, seed) } {
        errno if errno < 0 => Err(errno),
        sum => Ok(sum as u32),
    }
}

/// The checksum of what has this sum.
#[inline(always)]
pub fn of(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + sum) as u16
}
