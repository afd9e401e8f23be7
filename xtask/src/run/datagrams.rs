//! The proxy of UDP. It answers a datagram with one line, the two addresses it saw, from the address that the datagram was for.

use std::{
    io::IoSliceMut,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4OrigDstAddr, Ipv6OrigDstAddr},
};
use socket2::{Domain, Protocol, Socket, Type};

/// Starts it at an address of the calling thread's namespace.
pub fn proxy(address: SocketAddr) -> Result<()> {
    let socket = transparent(address).with_context(|| format!("start the proxy of UDP at {address}"))?;
    if address.is_ipv4() {
        setsockopt(&socket, Ipv4OrigDstAddr, &true).context("set IP_RECVORIGDSTADDR")?;
    } else {
        setsockopt(&socket, Ipv6OrigDstAddr, &true).context("set IPV6_RECVORIGDSTADDR")?;
    }
    // The thread has its creator's network namespace. What breaks an answer is its client's to notice.
    thread::spawn(move || {
        while let Ok((client, original)) = receive(&socket) {
            drop(answer(client, original));
        }
    });
    Ok(())
}

/// By a socket that speaks as the original destination, though no such address is here.
fn answer(client: SocketAddr, original: SocketAddr) -> Result<()> {
    let line = format!("original destination {original}, client {client}");
    transparent(original)?.send_to(line.as_bytes(), client).context("answer")?;
    Ok(())
}

/// The next datagram: who sent it, and where to.
fn receive(socket: &UdpSocket) -> Result<(SocketAddr, SocketAddr)> {
    let (mut bytes, mut control) = ([0; 512], nix::cmsg_space!(libc::sockaddr_in6));
    let mut room = [IoSliceMut::new(&mut bytes)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut room, Some(&mut control), MsgFlags::empty())?;
    let original = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => {
            let address = to.sin_addr.s_addr.to_ne_bytes().into();
            Some(SocketAddrV4::new(address, u16::from_be(to.sin_port)).into())
        }
        ControlMessageOwned::Ipv6OrigDstAddr(to) => {
            let address = to.sin6_addr.s6_addr.into();
            Some(SocketAddrV6::new(address, u16::from_be(to.sin6_port), 0, 0).into())
        }
        _ => None,
    });
    let client = message.address.context("a datagram has a sender")?;
    let v4 = client.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    let v6 = client.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port()));
    Ok((v4.or(v6).context("a sender of IP")?, original.context("the original destination")?))
}

/// A transparent socket at an address.
fn transparent(address: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_ip_transparent_v6(true).context("set IPV6_TRANSPARENT")?;
    } else {
        socket.set_ip_transparent_v4(true).context("set IP_TRANSPARENT")?;
    }
    socket.bind(&address.into()).context("bind")?;
    Ok(socket.into())
}
