//! Tags of VLANs on the wire, the first of which the kernel keeps beside a frame that it has received.

use std::{io::IoSliceMut, os::fd::AsRawFd as _};

use nix::{
    setsockopt_impl,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt},
};

use super::{DEADLINE, frames::Wire};

/// Type of a VLAN's tag (802.1Q; include/uapi/linux/if_ether.h).
pub const ETH_P_8021Q: u16 = 0x8100;
/// Type of a provider's tag, in front of another (802.1ad).
pub const ETH_P_8021AD: u16 = 0x88a8;

/// Has what is known of a frame beside its bytes told with it (packet(7)).
#[derive(Clone, Copy)]
struct PacketAuxdata;

setsockopt_impl!(
    PacketAuxdata,
    libc::SOL_PACKET,
    libc::PACKET_AUXDATA,
    bool,
    nix::sys::socket::sockopt::SetBool
);

/// Room for the header of a control message and `struct tpacket_auxdata`.
const CONTROL: usize = 64;

/// A frame, as it was on the wire and as the receiving host has it.
pub struct Received {
    /// With every tag that it was sent with.
    pub frame: Vec<u8>,
    /// The bytes that the host has.
    pub data: Vec<u8>,
}

/// The frame with these tags behind its MAC addresses, each a type and what it says, the outer one first.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    for (ether_type, control) in tags {
        tagged.extend(ether_type.to_be_bytes());
        tagged.extend(control.to_be_bytes());
    }
    tagged.extend(&frame[12..]);
    tagged
}

impl Wire {
    /// Has tags told from here on.
    pub fn tell_tags(&self) {
        setsockopt(&self.0, PacketAuxdata, &true).expect("ask a packet socket for tags");
    }

    /// The next frame, of a wire that tells tags.
    #[track_caller]
    pub fn receive_with_tag(&self) -> Received {
        self.0.set_read_timeout(Some(DEADLINE)).expect("set a time-out");
        let (mut data, mut control) = (vec![0; 1 << 16], [0; CONTROL]);
        let mut room = [IoSliceMut::new(&mut data)];
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut room, Some(&mut control), MsgFlags::empty());
        let received = received.expect("receive a frame");
        let tag = received.cmsgs().expect("the room is enough").find_map(|message| match message {
            ControlMessageOwned::Unknown(message) => tag_in(&message.data_bytes),
            _ => None,
        });
        let length = received.bytes;
        data.truncate(length);
        let frame = tag.map_or_else(|| data.clone(), |tag| tagged(&data, &[tag]));
        Received { frame, data }
    }
}

/// The tag in a `struct tpacket_auxdata` (include/uapi/linux/if_packet.h): its type and what it says.
fn tag_in(auxdata: &[u8]) -> Option<(u16, u16)> {
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let [a, b, c, d] = *auxdata.get(16..)?.first_chunk()?;
    let is_there = status & libc::TP_STATUS_VLAN_VALID != 0;
    is_there.then(|| (u16::from_ne_bytes([c, d]), u16::from_ne_bytes([a, b])))
}
