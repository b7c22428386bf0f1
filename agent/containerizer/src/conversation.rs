//! The agent's side of the report socket (see `bourse_init::report`).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use bourse_init::record::Record;
use bourse_init::report::{GO, MESSAGE_MAX, READY};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recvmsg, send,
    setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

use crate::process;

/// What the container says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// The task's process, with this pid as this machine counts, is ready and waits.
    Ready(u32),
    /// How it ended, or which step failed.
    Record(Record),
    /// Nothing more will come.
    Closed,
}

/// The agent's end of the socket.
#[derive(Debug)]
pub struct Conversation(OwnedFd);

impl Conversation {
    /// A new socket: our end, and the one for the container.
    pub fn begin() -> io::Result<(Conversation, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // From now on each message comes with its sender's pid, translated to our pid namespace by the
        // kernel.
        setsockopt(&ours, sockopt::PassCred, &true)?;
        Ok((Conversation(ours), theirs))
    }

    /// Waits for the next message, blocking this thread, at most `timeout`.
    pub fn next(&self, timeout: Duration) -> io::Result<Message> {
        let timeout = TimeVal::new(timeout.as_secs() as i64, timeout.subsec_micros().into());
        setsockopt(&self.0, sockopt::ReceiveTimeout, &timeout)?;
        self.receive(MsgFlags::empty())
    }

    /// Waits for the next message.
    pub async fn next_async(&self) -> io::Result<Message> {
        let socket = process::watch(self.0.as_fd())?;
        loop {
            let mut ready = socket.readable().await?;
            match ready.try_io(|_| self.receive(MsgFlags::MSG_DONTWAIT)) {
                Ok(message) => return message,
                Err(_not_ready_after_all) => {}
            }
        }
    }

    /// Lets the task's process go on.
    pub fn go(&self) -> io::Result<()> {
        send(self.0.as_raw_fd(), GO, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    fn receive(&self, flags: MsgFlags) -> io::Result<Message> {
        let mut buffer = [0; MESSAGE_MAX];
        let mut space = cmsg_space!(UnixCredentials);
        let (length, pid) = {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let got = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags);
            let got = match got {
                // A process that dies with our answer unread in its end resets the connection.
                Err(Errno::ECONNRESET) => return Ok(Message::Closed),
                got => got?,
            };
            let pid = got.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid() as u32),
                _ => None,
            });
            (got.bytes, pid)
        };
        match (&buffer[..length], pid) {
            ([], _) => Ok(Message::Closed),
            (READY, Some(pid)) => Ok(Message::Ready(pid)),
            (line, _) => Record::decode(line).map(Message::Record).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the container's first process talks another version",
                )
            }),
        }
    }
}
