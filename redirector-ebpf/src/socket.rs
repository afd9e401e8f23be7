//! Sockets that the kernel finds for a packet.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_sock, bpf_sock_tuple},
    helpers::{
        bpf_map_lookup_elem, bpf_map_update_elem, bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_sock,
    },
    programs::TcContext,
};
use core::ptr::{self, NonNull};
use redirector_common::{Family, Flow};

use crate::maps::{LISTENERS, TRANSPARENT_BYTE, TRANSPARENT_MASK};

/// Values of a socket's `state` (include/net/tcp_states.h).
pub mod state {
    pub const TIME_WAIT: u32 = 6;
    pub const CLOSE: u32 = 7;
    pub const LISTEN: u32 = 10;
}

/// BPF_F_CURRENT_NETNS: look in the packet's own netns.
const CURRENT_NETNS: u64 = -1_i64 as u64;

/// A reference to a socket, given back when it goes out of scope.
pub struct Socket(NonNull<bpf_sock>);

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the pointer came with a reference that nobody else gives back.
        unsafe { bpf_sk_release(self.0.as_ptr().cast()) };
    }
}

impl Socket {
    /// The socket that the kernel would give a segment of this flow to: a connection before a listener. It asks the
    /// netns's sk_lookup programs, ours too.
    #[inline(always)]
    pub fn find(ctx: &TcContext, flow: &Flow) -> Option<Self> {
        // SAFETY: all of the union is integers, for which zero is a value.
        let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
        let length = match flow.family {
            Family::V4 => {
                let [source, ..] = flow.source.words();
                let [destination, ..] = flow.destination.words();
                // SAFETY: the union was initialised whole, and both its views are plain integers.
                let ipv4 = unsafe { &mut tuple.__bindgen_anon_1.ipv4 };
                ipv4.saddr = source;
                ipv4.daddr = destination;
                ipv4.sport = flow.source_port.to_be();
                ipv4.dport = flow.destination_port.to_be();
                size_of_val(ipv4)
            }
            Family::V6 => {
                // SAFETY: the union was initialised whole, and both its views are plain integers.
                let ipv6 = unsafe { &mut tuple.__bindgen_anon_1.ipv6 };
                ipv6.saddr = flow.source.words();
                ipv6.daddr = flow.destination.words();
                ipv6.sport = flow.source_port.to_be();
                ipv6.dport = flow.destination_port.to_be();
                size_of_val(ipv6)
            }
        };
        // SAFETY: the tuple lives on the stack and `length` is that of the view that was filled.
        let found = unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), &mut tuple, length as u32, CURRENT_NETNS, 0) };
        NonNull::new(found).map(Self)
    }

    /// The listener stored at this index of `LISTENERS`.
    #[inline(always)]
    pub fn stored(index: u32) -> Option<Self> {
        // SAFETY: both pointers are to live values of the types that the map has.
        let found = unsafe { bpf_map_lookup_elem(listeners(), ptr::from_ref(&index).cast()) };
        NonNull::new(found.cast()).map(Self)
    }

    /// Stores the listener at this index of `LISTENERS`.
    ///
    /// # Errors
    ///
    /// The kernel's errno: EOPNOTSUPP for an MPTCP listener.
    #[inline(always)]
    pub fn store(&self, index: u32) -> Result<(), i64> {
        // SAFETY: the key is a live u32, and a SOCKMAP takes the socket itself as its value.
        let result = unsafe {
            bpf_map_update_elem(
                listeners(),
                ptr::from_ref(&index).cast(),
                self.0.as_ptr().cast_const().cast(),
                0,
            )
        };
        if result == 0 { Ok(()) } else { Err(-result) }
    }

    /// One of [`state`], or another of the kernel's.
    #[inline(always)]
    pub fn state(&self) -> u32 {
        // SAFETY: the socket is held, and the verifier checks the access.
        unsafe { (*self.0.as_ptr()).state }
    }

    /// Whether it is bound to a device (SO_BINDTODEVICE).
    #[inline(always)]
    pub fn is_device_bound(&self) -> bool {
        // SAFETY: the socket is held, and the verifier checks the access.
        unsafe { (*self.0.as_ptr()).bound_dev_if != 0 }
    }

    /// Whether it has IP_TRANSPARENT, without which it cannot answer for an address that is not of this host.
    #[inline(always)]
    pub fn is_transparent(&self) -> bool {
        // SAFETY: the socket is held; the helper gives null for what is not a full TCP socket.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.0.as_ptr().cast()) };
        let Some(tcp) = NonNull::new(tcp.cast::<u8>()) else { return false };
        // SAFETY: the agent took the offset from the kernel's own description of `struct tcp_sock`.
        let byte = unsafe { tcp.add(TRANSPARENT_BYTE.load() as usize) };
        // SAFETY: as above; the verifier checks the access against that description.
        let flags = unsafe { byte.read_volatile() };
        flags & TRANSPARENT_MASK.load() != 0
    }

    /// The raw socket, for a helper that does not keep it.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut bpf_sock {
        self.0.as_ptr()
    }
}

#[inline(always)]
fn listeners() -> *mut core::ffi::c_void {
    ptr::from_ref(&LISTENERS).cast_mut().cast()
}
