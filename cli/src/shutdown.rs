//! How a process is asked to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGINT: somebody at a terminal, who can ask again.
    Interrupt,
    /// SIGTERM: a program, which asks once and then waits or kills.
    Terminate,
}

/// SIGINT and SIGTERM, each time they come.
pub struct Requests {
    interrupt: Signal,
    terminate: Signal,
}

impl Requests {
    /// From now on the signals do not end the process.
    ///
    /// # Errors
    /// The kernel's, when no handler can be set.
    pub fn open() -> io::Result<Requests> {
        Ok(Requests {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Interrupt,
            _ = self.terminate.recv() => Request::Terminate,
        }
    }
}

/// Resolves at the first SIGINT or SIGTERM.
///
/// # Errors
/// The kernel's, when no handler can be set.
pub fn requested() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut requests = Requests::open()?;
    Ok(async move {
        requests.next().await;
    })
}

/// The exit status of a program whose output nobody reads: as a shell would see the signal that the runtime of Rust
/// switches off.
pub const NOBODY_READS: u8 = 128 + nix::sys::signal::Signal::SIGPIPE as u8;

/// Whoever read our output has closed it (`bourse ps | head`): not a failure.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
