//! How the author's other code reaches a scheduler that runs.

use tokio::sync::mpsc;

/// At most this many messages wait for the scheduler; whoever sends more waits.
pub(crate) const INBOX: usize = 1024;

/// Sends messages of the author's own type to a running scheduler, and asks it to end. Cheap to clone.
#[derive(Debug)]
pub struct Handle<M> {
    inbox: mpsc::Sender<Said<M>>,
}

/// What came in by a handle.
#[derive(Debug)]
pub(crate) enum Said<M> {
    Message(M),
    Stop,
    Teardown,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Handle<M> {
        Handle { inbox: self.inbox.clone() }
    }
}

impl<M> Handle<M> {
    pub(crate) fn new() -> (Handle<M>, mpsc::Receiver<Said<M>>) {
        let (inbox, said) = mpsc::channel(INBOX);
        (Handle { inbox }, said)
    }

    /// The scheduler gets [`Event::Message`](crate::Event::Message), after all that was sent before. Waits while too
    /// many messages wait. `false`: the session is over, and nobody will read it.
    pub async fn send(&self, message: M) -> bool {
        self.inbox.send(Said::Message(message)).await.is_ok()
    }

    /// The same without waiting. `Err` gives the message back: too many wait, or the session is over.
    pub fn try_send(&self, message: M) -> Result<(), M> {
        use mpsc::error::TrySendError::{Closed, Full};
        self.inbox.try_send(Said::Message(message)).map_err(|error| match error {
            Full(Said::Message(message)) | Closed(Said::Message(message)) => message,
            Full(Said::Stop | Said::Teardown) | Closed(Said::Stop | Said::Teardown) => {
                unreachable!("what comes back is what was sent")
            }
        })
    }

    /// Ends the session after all that was sent before; the framework and its tasks go on without it. Asking again
    /// changes nothing.
    pub async fn stop(&self) {
        let _ = self.inbox.send(Said::Stop).await; // Over already: that is what was wanted.
    }

    /// Ends the framework for good, with all its tasks, as soon as the master can be reached. Asking again changes
    /// nothing.
    pub async fn teardown(&self) {
        let _ = self.inbox.send(Said::Teardown).await; // Over already: it will not come back.
    }
}
