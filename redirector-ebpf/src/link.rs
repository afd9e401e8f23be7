//! What a packet looks like on the link that it comes by. There is a program for each kind, so that no packet pays for
//! finding out.

use aya_ebpf::programs::TcContext;

use crate::maps::CAPTURED;

/// Values of a packet's `pkt_type` (include/uapi/linux/if_packet.h).
const PACKET_HOST: u32 = 0;
const PACKET_OTHERHOST: u32 = 3;

/// A kind of link.
pub trait Link {
    /// Where the IP header begins, in bytes from the start of the packet.
    const NETWORK: usize;

    /// Whether a packet of this `pkt_type` is meant for this host, so that it may be redirected.
    fn is_for_us(pkt_type: u32) -> bool;

    /// Has a packet that is marked brought to the host's IP layer, if it would not get there by itself.
    fn bring_up(ctx: &TcContext);
}

/// An interface with Ethernet headers.
pub struct Ethernet;

impl Link for Ethernet {
    const NETWORK: usize = 14;

    /// What a promiscuous interface overhears is answered by another host; TCP itself takes nothing but PACKET_HOST
    /// (net/ipv4/tcp_ipv4.c, tcp_v4_rcv).
    #[inline(always)]
    fn is_for_us(pkt_type: u32) -> bool {
        pkt_type == PACKET_HOST
    }

    #[inline(always)]
    fn bring_up(_: &TcContext) {}
}

/// A port of a bridge. Frames for its other ports are redirected too.
pub struct BridgePort;

impl Link for BridgePort {
    const NETWORK: usize = Ethernet::NETWORK;

    #[inline(always)]
    fn is_for_us(pkt_type: u32) -> bool {
        matches!(pkt_type, PACKET_HOST | PACKET_OTHERHOST)
    }

    /// Addresses the frame to the bridge itself: it would carry it to another port, whatever the mark
    /// (net/bridge/br_input.c, br_handle_frame). The one exception to the rule that nothing is rewritten on the way to a
    /// proxy.
    #[inline(always)]
    fn bring_up(ctx: &TcContext) {
        // SAFETY: the kernel hands every program a valid `__sk_buff`, and the verifier checks the access.
        let ifindex = unsafe { (*ctx.skb.skb).ifindex };
        let Some(captured) = CAPTURED.get_ptr(ifindex) else { return };
        // SAFETY: the entry stays in memory while the program runs; the agent overwrites it whole.
        let bridge = unsafe { (*captured).bridge };
        // An interface that has only just become a port is not known as one yet.
        if bridge != [0; 6] {
            // A failure is for lack of memory: the frame then goes to the other port.
            let _ = ctx.store(0, &bridge, 0);
        }
    }
}

/// An interface without a link-layer header.
pub struct Layer3;

impl Link for Layer3 {
    const NETWORK: usize = 0;

    #[inline(always)]
    fn is_for_us(_: u32) -> bool {
        true
    }

    #[inline(always)]
    fn bring_up(_: &TcContext) {}
}
