//! What `bourse run` shows while its task lives: its output, and why it waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bourse_proto::agent_link::LogStream;
use bourse_proto::operator::{AgentVerdict, ExplainRequest, Explanation, ReadTaskLogRequest};
use bourse_types::{FrameworkId, TaskState, TaskStatus};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tonic::Code;

use super::SILENCE;
use crate::exit::is_away;
use crate::print::say;
use crate::render::prose;
use crate::session::Session;
use crate::verbs::logs::{self, Form, Progress};

/// How long to wait for more of a task's log after its end. What waits for our own reader does not count.
const REST: Duration = Duration::from_secs(10);

/// What a question to the master came to.
pub enum Heard {
    Answer,
    /// It took the question, and did not answer it.
    Silence,
    /// It is not there, or does not take the question.
    Refusal,
}

/// Copies the task's output to ours.
pub struct Follower {
    session: Session,
    /// What the task wants, for the question why it waits.
    wanted: String,
    /// How many ports it wants: the master is asked about amounts only.
    ports: u64,
    /// Known from the subscription on.
    pub framework: Option<FrameworkId>,
    following: bool,
    copies: JoinSet<anyhow::Result<()>>,
    progress: Arc<Progress>,
    /// Our own output cannot be written.
    unwritten: Option<anyhow::Error>,
    /// What was said last about the waiting.
    said: String,
}

impl Follower {
    /// Follows nothing yet.
    pub fn new(session: Session, wanted: String, ports: u64) -> Follower {
        Follower {
            session,
            wanted,
            ports,
            framework: None,
            following: false,
            copies: JoinSet::new(),
            progress: Arc::default(),
            unwritten: None,
            said: String::new(),
        }
    }

    /// Begins to copy at the first status of a task that has begun, or has begun and ended.
    pub fn follow(&mut self, status: &TaskStatus) {
        let begun = status.state == TaskState::Running || status.exit.is_some();
        let Some(framework) = self.framework.as_ref().filter(|_| begun && !self.following) else {
            return;
        };
        let request = ReadTaskLogRequest {
            task: status.task_id.to_string(),
            framework: framework.to_string(),
            follow: true,
            ..Default::default()
        };
        self.following = true;
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let (session, request) = (self.session.clone(), request.clone());
            let progress = self.progress.clone();
            self.copies
                .spawn(async move { logs::copy(&session, &request, stream, Form::Text, &progress).await });
        }
    }

    /// Resolves once: when our own output cannot be written any more.
    pub async fn broken(&mut self) {
        while self.unwritten.is_none() {
            let Some(copied) = self.copies.join_next().await else { break };
            self.copied(copied);
            if self.unwritten.is_some() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Waits for the end of the output. What cannot be read is said, and does not change the task's status.
    ///
    /// # Errors
    /// The output could not be written.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        loop {
            let before = self.progress.count();
            match timeout(REST, self.copies.join_next()).await {
                Ok(Some(copied)) => self.copied(copied),
                Ok(None) => break,
                Err(_) if self.progress.is_writing() || self.progress.count() != before => {}
                Err(_) => {
                    say(format_args!(
                        "bourse run: the rest of the task's output did not come within {} s",
                        REST.as_secs()
                    ));
                    break;
                }
            }
        }
        self.unwritten.take().map_or(Ok(()), Err)
    }

    fn copied(&mut self, copied: Result<anyhow::Result<()>, JoinError>) {
        match copied {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.downcast_ref::<io::Error>().is_some() => {
                self.unwritten = Some(error);
            }
            Ok(Err(error)) => say(format_args!("bourse run: the task's output could not be read: {error:#}")),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Says why the task waits, or why the master cannot be asked, when that is something else than was said last.
    pub async fn say_why(&mut self) -> Heard {
        // It has taken the subscription and not answered.
        let Some(framework) = &self.framework else { return Heard::Silence };
        let request = ExplainRequest {
            subject: framework.to_string(),
            resources: self.wanted.clone(),
            ..ExplainRequest::default()
        };
        let (heard, why) = match timeout(SILENCE, self.session.operator.explain(request)).await {
            Err(_) => return Heard::Silence,
            Ok(Ok(explanation)) => (Heard::Answer, self.in_words(explanation.into_inner())),
            // That nobody is there is said already.
            Ok(Err(status)) if is_away(&status) || status.code() == Code::Unavailable => {
                return Heard::Refusal;
            }
            Ok(Err(status)) => (Heard::Refusal, status.message().to_owned()),
        };
        let why = prose(&why);
        if why != self.said {
            say(format_args!("bourse run: waiting: {why}"));
            self.said = why;
        }
        heard
    }

    fn in_words(&self, explanation: Explanation) -> String {
        let mut why = explanation.summary;
        // Our own declining passes by itself, and its seconds would be told anew each time.
        let fixes = explanation.nearest_fix.split("; and ").filter(|fix| !fix.starts_with("wait "));
        fixes.for_each(|fix| why += &format!("; {fix}"));
        let only_declined = |agent: &AgentVerdict| agent.obstacles.iter().all(|it| it.reason == "filter");
        if self.ports > 0 && explanation.agents.iter().any(only_declined) {
            why = format!("no agent with room for its other resources offers {} free ports", self.ports);
        }
        why
    }
}
