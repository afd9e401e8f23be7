//! Netfilter's netlink: one socket, lists, single requests, and batches that the kernel carries out whole or not at all.

use std::io;

use anyhow::{Context as _, Result, anyhow, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::message::{Message, NFTABLES};
use crate::host::netlink;

/// NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END.
const BATCH: [u16; 2] = [0x10, 0x11];

/// One change of a batch.
pub struct Change {
    /// What it does, for the error.
    pub what: String,
    /// The message.
    pub message: Message,
    /// NLM_F_CREATE and the like.
    pub flags: u16,
}

/// Whether the kernel has no netfilter.
pub fn is_missing() -> bool {
    Nfnetlink::open().is_err_and(|error| error.raw_os_error() == Some(libc::EPROTONOSUPPORT))
}

/// A socket. What it owns in the kernel is gone when it is closed, however its process ends.
pub struct Nfnetlink {
    socket: Socket,
    port: u32,
}

impl Nfnetlink {
    /// Opens a socket to the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel's: EPROTONOSUPPORT where it has no netfilter.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, port })
    }

    /// By what the kernel knows the socket.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// What `each` makes of everything that there is. A list that changed while it was read is read again.
    ///
    /// # Errors
    ///
    /// The kernel's; EINTR where the list changed each time.
    pub fn dump<T>(
        &self,
        request: &Message,
        mut each: impl FnMut(Message) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        const TRIES: u32 = 16;
        for _ in 0..TRIES {
            self.send([(request.clone(), NLM_F_REQUEST | NLM_F_DUMP)])?;
            let mut found = Vec::new();
            if self.read_dump(|message| found.extend(each(message)))? {
                return Ok(found);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR))
    }

    /// Whether the list is whole.
    fn read_dump(&self, mut each: impl FnMut(Message)) -> io::Result<bool> {
        let mut whole = true;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in netlink::messages::<Message>(&datagram) {
                let message = message?;
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(whole),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(answer) => each(answer),
                    _ => {}
                }
            }
        }
    }

    /// Does something and waits for the kernel's word that it is done.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn change(&self, message: Message) -> io::Result<()> {
        self.send([(message, NLM_F_REQUEST | NLM_F_ACK)])?;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in netlink::messages::<Message>(&datagram) {
                if let NetlinkPayload::Error(error) = message?.payload {
                    return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
                }
            }
        }
    }

    /// Changes tables, all as told or nothing.
    ///
    /// # Errors
    ///
    /// All that the kernel has against it; the first of its codes is the cause.
    pub fn batch(&self, changes: Vec<Change>) -> Result<()> {
        let limit = |kind| (Message::limit(kind, NFTABLES), NLM_F_REQUEST);
        let [begin, end] = BATCH.map(limit);
        let names: Vec<String> = changes.iter().map(|change| change.what.clone()).collect();
        let inner =
            changes.into_iter().map(|change| (change.message, NLM_F_REQUEST | NLM_F_ACK | change.flags));
        self.send([begin].into_iter().chain(inner).chain([end])).context("send to netfilter")?;

        let (mut done, mut refusals) = (0, Vec::new());
        for (sequence, error) in self.answers()? {
            match error {
                None => done += 1,
                // Number 0 is the batch as a whole.
                Some(error) => refusals.push((names.get((sequence as usize).wrapping_sub(1)), error)),
            }
        }
        if refusals.is_empty() {
            if done < names.len() {
                bail!("netfilter answered {done} of {} changes", names.len());
            }
            return Ok(());
        }
        let all: Vec<String> = refusals
            .iter()
            .map(|(what, error)| format!("{}: {error}", what.map_or("change nft tables", |what| what)))
            .collect();
        let (_, first) = refusals.remove(0);
        Err(anyhow!(first).context(all.join("; ")))
    }

    /// What the kernel said to each message of a batch, by the message's number. It has said everything when the call
    /// that sends has come back (net/netfilter/nfnetlink.c, nfnetlink_rcv_batch).
    fn answers(&self) -> Result<Vec<(u32, Option<io::Error>)>> {
        let mut answers = Vec::new();
        self.socket.set_non_blocking(true).context("read from netfilter")?;
        let result = loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(answers),
                Err(error) => break Err(error),
            };
            for message in netlink::messages::<Message>(&datagram) {
                let message = message?;
                if let NetlinkPayload::Error(error) = message.payload {
                    let refusal = error.code.is_some().then(|| error.to_io());
                    answers.push((message.header.sequence_number, refusal));
                }
            }
        };
        self.socket.set_non_blocking(false).context("read from netfilter")?;
        result.context("read from netfilter")
    }

    /// Sends messages in one datagram, numbered from 0.
    fn send(&self, messages: impl IntoIterator<Item = (Message, u16)>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (number, (message, flags)) in (0..).zip(messages) {
            let mut packet = NetlinkMessage::from(message);
            packet.header.flags = flags;
            packet.header.sequence_number = number;
            packet.finalize();
            let start = bytes.len();
            bytes.resize(start + packet.buffer_len(), 0);
            packet.serialize(&mut bytes[start..]);
        }
        self.socket.send(&bytes, 0).map(drop)
    }
}
