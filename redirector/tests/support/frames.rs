//! Frames as they are on the wire, past all of the sender's sockets.

use std::{
    io::{ErrorKind, Read as _},
    mem::MaybeUninit,
    net::IpAddr,
    os::fd::AsRawFd as _,
    time::Duration,
};

use etherparse::{EtherType, IpNumber, PacketBuilder, PacketBuilderStep, TcpHeader, VlanId, ip_number};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::{Netns, world::Family};

/// MAC address in crafted frames, by which they are told from what the hosts themselves send.
pub const CRAFTED_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xcf];
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A way to send and receive whole frames at an interface.
pub struct Wire(Socket);

impl Wire {
    /// Opens it.
    pub fn open(netns: &Netns, interface: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        netns.run(|| {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol))))
                .expect("open a packet socket");
            let mut storage = SockAddrStorage::zeroed();
            // SAFETY: `sockaddr_ll` is made for this storage, and all of it is integers.
            let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = if_nametoindex(interface).expect("find the interface") as i32;
            // SAFETY: the storage holds a whole `sockaddr_ll`.
            let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
            socket.bind(&address).expect("bind a packet socket");
            // Room for a burst of small connections.
            socket.set_recv_buffer_size(1 << 22).expect("set the buffer's size");
            Self(socket)
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = self.0.send(frame).expect("send a frame");
        assert_eq!(sent, frame.len());
    }

    /// The next frame; none if none comes for so long.
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(within)).expect("set a time-out");
        let mut frame = vec![0; 1 << 16];
        match (&self.0).read(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Some(frame)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("receive a frame: {error}"),
        }
    }
}
