//! What becomes of a connection: the claims that tests make.

use std::{io, net::SocketAddr, time::Instant};

use super::{
    DEADLINE, Netns, QUIET, World,
    client::{ask, connect},
};

impl World {
    /// Asserts that a connection of the client is answered by the server of this name, to which the connection's
    /// destination is its original one and its peer the client.
    #[track_caller]
    pub fn assert_reaches(&self, to: impl Into<SocketAddr>, name: &str) {
        self.assert_reaches_from(&self.client, to, name);
    }

    /// Asserts the same of a connection from another namespace.
    #[track_caller]
    pub fn assert_reaches_from(&self, from: &Netns, to: impl Into<SocketAddr>, name: &str) {
        let to = to.into();
        let answer = ask(from, to).unwrap_or_else(|error| panic!("{to} is not answered: {error}"));
        assert_eq!(answer.name, name, "who answers at {to}");
        assert_eq!(answer.destination, to, "the original destination as {name} sees it");
        assert_eq!(answer.peer, answer.client, "the client as {name} sees it");
        // A proxy such as Envoy asks for it, and connects to what it is given.
        assert!(answer.original.is_none_or(|original| original == to), "SO_ORIGINAL_DST: {answer:?}");
    }

    /// Asserts that a connection of the client is answered by the server of this name, as whatever it sees it.
    #[track_caller]
    pub fn assert_answers(&self, to: SocketAddr, name: &str) {
        let answer = ask(&self.client, to).unwrap_or_else(|error| panic!("{to} is not answered: {error}"));
        assert_eq!(answer.name, name, "who answers at {to}");
    }

    /// Asserts that a connection of the client is answered by the server of this name, if not at once then soon.
    #[track_caller]
    pub fn assert_comes_to_reach(&self, to: impl Into<SocketAddr>, name: &str) {
        let to = to.into();
        let begin = Instant::now();
        loop {
            let answered = connect(&self.client, to, QUIET).is_ok();
            if answered || begin.elapsed() > DEADLINE {
                return self.assert_reaches(to, name);
            }
        }
    }

    /// Asserts that a connection of the client is refused by whoever is there.
    #[track_caller]
    pub fn assert_refused(&self, to: impl Into<SocketAddr>) {
        let to = to.into();
        let error = ask(&self.client, to).map(|answer| answer.name).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "the answer of {to}");
    }

    /// Asserts that a connection of the client gets no answer of any kind.
    #[track_caller]
    pub fn assert_silent(&self, to: impl Into<SocketAddr>) {
        let to = to.into();
        let error = connect(&self.client, to, QUIET).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "the answer of {to}");
    }
}
