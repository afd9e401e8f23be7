//! Sockets that the kernel finds for a packet.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as Ipv4Tuple,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as Ipv6Tuple,
    },
    helpers::{
        bpf_map_lookup_elem, bpf_map_update_elem, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
        bpf_skc_to_tcp_sock,
    },
    programs::TcContext,
};
use core::{
    mem::MaybeUninit,
    ptr::{self, NonNull},
};
use redirector_common::{Address, Family, Flow, Protocol};

use crate::maps::{LISTENERS, TRANSPARENT_BYTE, TRANSPARENT_MASK};

/// Values of a socket's `state` (include/net/tcp_states.h).
pub mod state {
    use redirector_common::Protocol;

    pub const TIME_WAIT: u32 = 6;
    pub const CLOSE: u32 = 7;
    pub const LISTEN: u32 = 10;

    /// That of a socket that takes what no connected one has: of UDP, one that is not connected.
    #[inline(always)]
    pub const fn listening(protocol: Protocol) -> u32 {
        match protocol {
            Protocol::Tcp => LISTEN,
            Protocol::Udp => CLOSE,
        }
    }
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
    /// The socket that the kernel would give a packet of this flow to: a connected one before a listener. It asks the
    /// netns's sk_lookup programs, ours too.
    ///
    /// The protocol is the caller's constant, for of TCP and of UDP the verifier has pointers of different types.
    #[inline(always)]
    pub fn find(ctx: &TcContext, protocol: Protocol, flow: &Flow) -> Option<Self> {
        let ports = [flow.source_port, flow.destination_port];
        Self::look_up(ctx, protocol, flow.family, &flow.source, &flow.destination, ports)
    }

    /// The socket that the kernel would give a packet to an address and port of this host to, if it came from there
    /// and from port 0, which no connected socket has: a listener. The protocol as above.
    #[inline(always)]
    pub fn listening_at(
        ctx: &TcContext,
        protocol: Protocol,
        family: Family,
        address: &Address,
        port: u16,
    ) -> Option<Self> {
        Self::look_up(ctx, protocol, family, address, address, [0, port])
    }

    #[inline(always)]
    fn look_up(
        ctx: &TcContext,
        protocol: Protocol,
        family: Family,
        source: &Address,
        destination: &Address,
        [source_port, destination_port]: [u16; 2],
    ) -> Option<Self> {
        let (sport, dport) = (source_port.to_be(), destination_port.to_be());
        // Not zeroed first: that would be a loop over the bytes.
        let mut tuple = MaybeUninit::<bpf_sock_tuple>::uninit();
        let length = match family {
            Family::V4 => {
                let ([saddr, ..], [daddr, ..]) = (source.words(), destination.words());
                let ipv4 = Ipv4Tuple { saddr, daddr, sport, dport };
                // SAFETY: this is one of the views of the union, which is large and aligned enough for each.
                unsafe { tuple.as_mut_ptr().cast::<Ipv4Tuple>().write(ipv4) };
                size_of::<Ipv4Tuple>()
            }
            Family::V6 => {
                let ipv6 = Ipv6Tuple { saddr: source.words(), daddr: destination.words(), sport, dport };
                // SAFETY: as above.
                unsafe { tuple.as_mut_ptr().cast::<Ipv6Tuple>().write(ipv6) };
                size_of::<Ipv6Tuple>()
            }
        };
        let look_up = match protocol {
            Protocol::Tcp => bpf_skc_lookup_tcp,
            Protocol::Udp => bpf_sk_lookup_udp,
        };
        // SAFETY: the tuple lives on the stack and `length` is that of the view that was written.
        let found = unsafe { look_up(ctx.as_ptr(), tuple.as_mut_ptr(), length as u32, CURRENT_NETNS, 0) };
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
    pub fn store(&self, index: u32) -> Result<(), i32> {
        // SAFETY: the key is a live u32, and a SOCKMAP takes the socket itself as its value.
        let result = unsafe {
            bpf_map_update_elem(
                listeners(),
                ptr::from_ref(&index).cast(),
                self.0.as_ptr().cast_const().cast(),
                0,
            )
        };
        // An int before 6.4, whose sign is not in the upper half of the register (d7ba4cc900bf, "bpf: return long from
        // bpf_map_ops funcs").
        let result = result as i32;
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

    /// Whether it has IP_TRANSPARENT, without which it cannot answer for an address that is not of this host. Of a socket of
    /// UDP the answer is no: the kernel does not let it be read so.
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
