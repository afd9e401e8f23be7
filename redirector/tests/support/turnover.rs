//! Many short connections: one request each, closed by the server.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{DEADLINE, Netns, client::Answer};

/// What became of them.
pub struct Turnover {
    /// Connections that were tried.
    pub count: u32,
    /// What went wrong, and with which.
    pub failures: Vec<String>,
    /// How long they took, all together.
    pub elapsed: Duration,
}

impl Turnover {
    /// Connections in a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.count) / self.elapsed.as_secs_f64()
    }
}

/// Makes so many connections one after the other from one address to another, where a server of this name answers
/// and sees the client itself.
pub fn turn_over(netns: &Netns, to: SocketAddr, name: &str, count: u32) -> Turnover {
    turn_over_for(netns, to, count, |answer| answer.name == name && answer.peer == answer.client)
}

/// Makes so many connections one after the other from one address to another, each with the right answer.
pub fn turn_over_for(
    netns: &Netns,
    to: SocketAddr,
    count: u32,
    is_right: impl Fn(&Answer) -> bool + Send,
) -> Turnover {
    netns.run(move || {
        let mut failures = Vec::new();
        let begin = Instant::now();
        for number in 1..=count {
            match exchange(to) {
                Ok(answer) if answer.destination == to && is_right(&answer) => {}
                Ok(answer) => failures.push(format!("{number}: {answer:?}")),
                Err(error) => failures.push(format!("{number}: {error}")),
            }
            // Enough to see, and each may have taken all the time that it was given.
            if failures.len() >= 5 {
                return Turnover { count: number, failures, elapsed: begin.elapsed() };
            }
        }
        Turnover { count, failures, elapsed: begin.elapsed() }
    })
}

/// A connection from the calling thread's namespace, from its beginning to its end.
pub fn exchange(to: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let client = stream.local_addr()?;
    stream.write_all(b"who is there?\n")?;
    let mut line = String::new();
    // To its end: it is the server that closes first and is left in TIME_WAIT.
    stream.read_to_string(&mut line)?;
    Answer::read(&line, client).ok_or_else(|| io::Error::other(format!("answered {line:?}")))
}
