//! The proxy, and a server that needs none. Each answers a connection with one line: the two addresses it saw.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Starts the proxy at an address of the calling thread's namespace.
pub fn proxy(address: SocketAddr) -> Result<()> {
    // Transparent: the accepted socket then speaks as the original destination, though no such address is here.
    serve(address, true, "original destination").with_context(|| format!("start the proxy at {address}"))
}

/// Starts the ordinary server at an address of the calling thread's namespace.
pub fn ordinary(address: SocketAddr) -> Result<()> {
    serve(address, false, "server").with_context(|| format!("start the server at {address}"))
}

fn serve(address: SocketAddr, transparent: bool, own: &'static str) -> Result<()> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    if address.is_ipv6() {
        socket.set_only_v6(true).context("set IPV6_V6ONLY")?;
        socket.set_ip_transparent_v6(transparent).context("set IPV6_TRANSPARENT")?;
    } else {
        socket.set_ip_transparent_v4(transparent).context("set IP_TRANSPARENT")?;
    }
    socket.bind(&address.into()).context("bind")?;
    socket.listen(128).context("listen")?;
    let listener = TcpListener::from(socket);
    thread::spawn(move || {
        // A connection that breaks is its client's to notice.
        listener.incoming().flatten().for_each(|stream| drop(answer(stream, own)));
    });
    Ok(())
}

fn answer(mut stream: TcpStream, own: &str) -> io::Result<()> {
    // One write, so one segment: the counters at the end then show what a connection is made of.
    let line = format!("{own} {}, client {}\n", stream.local_addr()?, stream.peer_addr()?);
    stream.write_all(line.as_bytes())
}
