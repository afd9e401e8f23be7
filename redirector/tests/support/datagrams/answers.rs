//! What servers of UDP answer, and the sockets by which they do.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::{Shutdown, SocketAddr, UdpSocket},
    thread::{self, JoinHandle},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::MOST;

/// A socket of a proxy that is connected to a client.
pub struct Connected {
    socket: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

impl Connected {
    /// Answers what comes by it, which is for this destination and of this client.
    pub fn serve(socket: UdpSocket, name: String, destination: SocketAddr, peer: SocketAddr) -> Self {
        let own = socket.try_clone().expect("share a socket");
        let thread = thread::spawn(move || {
            let mut bytes = vec![0; MOST];
            // Its shutdown ends it, and so does the client's end.
            while let Ok(length @ 1..) = own.recv(&mut bytes) {
                let answer = answer(&format!("{name}'s"), destination, peer, &bytes[..length]);
                if own.send(answer.as_bytes()).is_err() {
                    break;
                }
            }
        });
        Self { socket, thread: Some(thread) }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        // It is connected, unless the client's end was told.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the connected socket's thread ends");
        }
    }
}

/// A transparent socket by which a proxy speaks as an address that may be another's.
pub fn answering_socket(own: SocketAddr, peer: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(own), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    if own.is_ipv6() {
        socket.set_ip_transparent_v6(true)?;
    } else {
        socket.set_ip_transparent_v4(true)?;
    }
    socket.bind(&own.into())?;
    if let Some(peer) = peer {
        socket.connect(&peer.into())?;
    }
    Ok(socket.into())
}

/// What a server of this name says of a datagram.
pub fn answer(name: &str, destination: SocketAddr, peer: SocketAddr, datagram: &[u8]) -> String {
    format!("{name} {destination} {peer} {} {}", datagram.len(), digest(datagram))
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
