//! Waiting for a master that is away, as a restart of it is none of the business of whoever follows something.

use std::time::Duration;

use tokio::time::sleep;
use tonic::{Code, Status};

use crate::exit::{is_away, refused};
use crate::print::say;

/// How soon it is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Who is away, as far as was said.
#[derive(Debug, Default)]
pub struct Patience {
    /// What is said when there is an answer again.
    back: Option<&'static str>,
}

impl Patience {
    /// The answer of a call, or `None`, after a moment, where nobody was there to give one: that is said once, and so is
    /// the end of it.
    ///
    /// # Errors
    /// The call was refused.
    pub async fn with<T>(&mut self, answer: Result<T, Status>) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(answer) => {
                if let Some(back) = self.back.take() {
                    say(back);
                }
                Ok(Some(answer))
            }
            Err(status) if may_pass(&status) => {
                if self.back.is_none() {
                    self.back = Some(self.away(&status));
                }
                sleep(RETRY).await;
                Ok(None)
            }
            Err(status) => Err(refused(status)),
        }
    }

    fn away(&self, status: &Status) -> &'static str {
        if is_away(status) {
            say("the master cannot be reached; waiting for it");
            return "the master is back";
        }
        say(format_args!("waiting: {}", status.message()));
        "there is an answer again"
    }
}

/// Whether nobody was there to answer: not the master, or not whom it asks (the service framework, say).
pub fn may_pass(status: &Status) -> bool {
    is_away(status) || status.code() == Code::Unavailable
}
