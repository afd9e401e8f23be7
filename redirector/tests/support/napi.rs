//! Makes a veth device receive as network cards do: by NAPI, which hands packets up in batches.

use std::{fs, io, os::fd::AsRawFd as _};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use socket2::{Domain, Socket, Type};

use super::World;

/// Has the node receive from the client by NAPI, in a thread of its own: what is sent meanwhile makes one batch.
pub fn receive_in_batches(world: &World) {
    // veth goes by NAPI only where the sender leaves segments to be put together (veth_skb_is_eligible_for_gro).
    world.client.run(|| set(ETHTOOL_STSO, "to-node", 0));
    world.node.run(|| {
        set(ETHTOOL_SGRO, "to-client", 1);
        // A sysfs shows the devices of the namespace in which it was mounted. This mount goes with the thread.
        unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .expect("keep mounts private");
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing).expect("mount sysfs");
        fs::write("/sys/class/net/to-client/threaded", "1").expect("have NAPI run in a thread");
    });
}

/// include/uapi/linux/sockios.h and ethtool.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGRO: u32 = 0x2c;

/// Turns a feature of an interface on or off.
fn set(command: u32, interface: &str, value: u32) {
    try_set(command, interface, value)
        .unwrap_or_else(|error| panic!("ethtool command {command:#x} for {interface}: {error}"));
}

fn try_set(command: u32, interface: &str, value: u32) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // `struct ethtool_value`
    let mut value: [u32; 2] = [command, value];
    // SAFETY: all of `ifreq` is integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request and what it points to live until the call returns.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
