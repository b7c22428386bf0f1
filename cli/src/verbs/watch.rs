//! The master's stream of changes, over its restarts.

use bourse_proto::operator::{WatchEvent, WatchRequest, watch_event::Event};
use tonic::{Code, Status, Streaming};

use super::patience::Patience;
use crate::session::Session;

/// The changes from now on, after a snapshot of what there is.
pub struct Watch {
    session: Session,
    changes: Option<Streaming<WatchEvent>>,
    /// Of the last change, to go on from there.
    token: String,
    patience: Patience,
}

impl Watch {
    /// Opens at the first look.
    pub fn new(session: &Session) -> Watch {
        Watch { session: session.clone(), changes: None, token: String::new(), patience: Patience::default() }
    }

    /// The next change. After a restart of the master it begins with another snapshot; where only the connection broke,
    /// it goes on after the last change. A look that is given up has lost nothing.
    ///
    /// # Errors
    /// The master refuses.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            let step = self.step().await;
            if step.is_err() {
                self.changes = None;
            }
            // We have read more slowly than the cluster changes: what was missed comes again.
            if step.as_ref().is_err_and(|status| status.code() == Code::ResourceExhausted) {
                continue;
            }
            if let Some(Some(WatchEvent { token, event: Some(event) })) = self.patience.with(step).await? {
                if !token.is_empty() {
                    self.token = token;
                }
                return Ok(event);
            }
        }
    }

    /// A change, or `None` where the stream was only opened.
    async fn step(&mut self) -> Result<Option<WatchEvent>, Status> {
        if let Some(changes) = &mut self.changes {
            let change = changes.message().await?;
            return change.map(Some).ok_or_else(|| Status::unavailable("the master ended the stream"));
        }
        let request = WatchRequest { token: self.token.clone() };
        self.changes = Some(self.session.operator.watch(request).await?.into_inner());
        Ok(None)
    }
}
