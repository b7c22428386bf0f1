//! The agent's side of the report socket (see `bourse_init::report`).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

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
        let deadline = Instant::now() + timeout;
        loop {
            // Nothing left is not zero, which would be for ever.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
            let left = TimeVal::new(left.as_secs() as i64, left.subsec_micros().into());
            setsockopt(&self.0, sockopt::ReceiveTimeout, &left)?;
            match self.receive(MsgFlags::empty()) {
                // A socket with a timeout is interrupted even by a stop and a continuation (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Whether a thread of ours waits in a call.
    fn waits_in(thread: i32, call: libc::c_long) -> bool {
        let text = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        text.split(' ').next() == Some(&call.to_string())
    }

    #[test]
    fn a_stop_and_a_continuation_are_not_taken_for_silence() {
        let (ours, theirs) = Conversation::begin().expect("a socket");
        let (tell, told) = mpsc::channel();
        let waiting = thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).expect("the test waits");
            ours.next(Duration::from_secs(60))
        });
        let waiter = told.recv().expect("it tells");
        let until_it_waits = || {
            while !waits_in(waiter, libc::SYS_recvmsg) && !waiting.is_finished() {
                thread::yield_now();
            }
        };
        until_it_waits();
        let stop_and_continue =
            Command::new("sh").args(["-c", "kill -STOP $PPID; kill -CONT $PPID"]).status();
        assert!(stop_and_continue.expect("sh can be started").success());
        until_it_waits();
        send(theirs.as_raw_fd(), READY, MsgFlags::empty()).expect("it is open");
        let message = waiting.join().expect("it does not panic").expect("a message");
        assert_eq!(message, Message::Ready(std::process::id()));
    }
}
