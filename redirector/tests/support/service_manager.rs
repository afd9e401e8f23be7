//! The service manager's end of systemd's notify protocol.

use std::{io::ErrorKind, os::unix::net::UnixDatagram, path::Path};

use super::{DEADLINE, QUIET, files::Directory};

/// A socket to which a service tells how it is.
pub struct ServiceManager {
    directory: Directory,
    socket: UnixDatagram,
}

impl ServiceManager {
    /// Listens.
    pub fn new() -> Self {
        let directory = Directory::new();
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("listen for notifications");
        socket.set_read_timeout(Some(DEADLINE)).expect("limit the waiting");
        Self { directory, socket }
    }

    /// The directory that its socket `notify` is in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The next thing that it is told, line by line, which is not that the service is alive.
    #[track_caller]
    pub fn next(&self) -> Vec<String> {
        loop {
            let told = self.receive();
            if told != ["WATCHDOG=1"] {
                return told;
            }
        }
    }

    /// Waits until it is told so many times that the service is alive, and nothing else.
    #[track_caller]
    pub fn assert_alive(&self, times: usize) {
        for _ in 0..times {
            assert_eq!(self.receive(), ["WATCHDOG=1"]);
        }
    }

    /// Asserts that it is told nothing for a while, once what is on its way has arrived.
    #[track_caller]
    pub fn assert_silent(&self) {
        self.socket.set_read_timeout(Some(QUIET)).expect("limit the waiting");
        let mut told = 0;
        while self.socket.recv(&mut [0; 4096]).is_ok() {
            told += 1;
            assert!(told < 10, "it goes on telling");
        }
        self.socket.set_read_timeout(Some(DEADLINE)).expect("limit the waiting");
    }

    #[track_caller]
    fn receive(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = loop {
            match self.socket.recv(&mut buffer) {
                // Where there is a time limit, no signal leaves the call as it was (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                told => break told.expect("the service tells how it is"),
            }
        };
        let text = std::str::from_utf8(&buffer[..length]).expect("it writes UTF-8");
        text.lines().map(str::to_owned).collect()
    }
}
