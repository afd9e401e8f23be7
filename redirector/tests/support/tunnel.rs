//! A link without Ethernet headers: two tun devices, and threads that carry packets from one to the other.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    thread::{self, JoinHandle},
};

use super::Netns;

/// Both ends' name.
pub const TUN: &str = "tun0";

/// A link between two namespaces; without it the devices are gone.
pub struct Tunnel {
    ends: [Netns; 2],
    carriers: Vec<JoinHandle<()>>,
}

impl Tunnel {
    /// Makes a device called `tun0` in both. They are up and have no address.
    pub fn new(ends: [&Netns; 2]) -> Self {
        let devices = ends.map(open);
        for netns in ends {
            netns.ip(&format!("link set {TUN} addrgenmode none\nlink set {TUN} up"));
        }
        let carriers = [(0, 1), (1, 0)].map(|(from, to)| {
            let clone = |index: usize| devices[index].try_clone().expect("share a device");
            let (from, to) = (clone(from), clone(to));
            thread::spawn(move || carry(from, to))
        });
        Self { ends: ends.map(Netns::clone), carriers: carriers.into() }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Ends what reads there.
        for netns in &self.ends {
            netns.try_output(&format!("ip link delete {TUN}"));
        }
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

/// Until one of the devices is gone.
fn carry(mut from: File, mut to: File) {
    let mut packet = vec![0; 1 << 16];
    while let Ok(length) = from.read(&mut packet) {
        // A device that is down takes nothing.
        let _ = to.write(&packet[..length]);
    }
}

/// The device in a namespace, whose packets the file gives and takes.
fn open(netns: &Netns) -> File {
    netns.run(|| {
        let file = File::options().read(true).write(true).open("/dev/net/tun").expect("open /dev/net/tun");
        // SAFETY: the structure is made of integers and arrays of them, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(TUN.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the file is open, and the request is a live `ifreq` with a name that ends in a zero.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert_eq!(made, 0, "make {TUN}: {}", std::io::Error::last_os_error());
        file
    })
}
