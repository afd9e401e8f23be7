//! What client and server do.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{figures::median, pin, support::Netns};

/// What is measured of a round.
pub struct Measure {
    /// The middle of the operations, microseconds.
    pub p50: f64,
    /// Operations in a second.
    pub rate: f64,
    /// Operations that failed.
    pub failures: u64,
}

/// What the client does.
pub struct Workload {
    pub name: &'static str,
    /// Operations in a round.
    pub count: u32,
    pub run: fn(SocketAddr, u32) -> Measure,
    /// How much of the overhead of REDIRECT may be ours.
    pub goal: &'static str,
}

/// All of them.
pub const WORKLOADS: [Workload; 2] = [
    Workload { name: "round trips of one byte (RR)", count: 20_000, run: round_trips, goal: "0.10" },
    Workload { name: "connections with one request (CRR)", count: 4_000, run: connections, goal: "0.05" },
];

/// How long an operation may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Serves at an address of a namespace: sends each byte back, one connection after the other, until the process ends.
pub fn serve(netns: &Netns, address: SocketAddr) {
    let listener =
        netns.run(|| listen(address)).unwrap_or_else(|error| panic!("listen at {address}: {error}"));
    thread::spawn(move || {
        pin::to_one_cpu();
        for stream in listener.incoming() {
            // What breaks a connection is its client's to notice.
            let _ = stream.and_then(echo);
        }
    });
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // In every mode: the server is to be the same.
    socket.set_ip_transparent_v4(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            length => stream.write_all(&bytes[..length])?,
        }
    }
}

/// One byte and back, again and again, on one connection.
fn round_trips(to: SocketAddr, count: u32) -> Measure {
    const WARM_UP: u32 = 200;
    let mut stream = connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
    let mut byte = || exchange(&mut stream);
    (0..WARM_UP).for_each(|_| byte().expect("send a byte and get it back"));
    measure(count, byte)
}

/// A connection, one request, its answer, and the end.
fn connections(to: SocketAddr, count: u32) -> Measure {
    measure(count, || exchange(&mut connect(to)?))
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

fn measure(count: u32, mut operation: impl FnMut() -> io::Result<()>) -> Measure {
    pin::to_one_cpu();
    let mut times = Vec::with_capacity(count as usize);
    let mut failures = 0;
    let begin = Instant::now();
    for _ in 0..count {
        let start = Instant::now();
        match operation() {
            Ok(()) => times.push(start.elapsed().as_nanos() as f64 / 1000.0),
            Err(_) => failures += 1,
        }
    }
    let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
    Measure { p50: median(&mut times), rate, failures }
}
