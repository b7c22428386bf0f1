//! What `bourse run` shows while its task lives: its output, and why it waits.

use std::time::Duration;

use bourse_proto::agent_link::LogStream;
use bourse_proto::operator::{ExplainRequest, ReadTaskLogRequest};
use bourse_types::{FrameworkId, TaskState, TaskStatus};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::session::Session;
use crate::verbs::logs;

/// How long the rest of a log may take after the end of its task.
const REST: Duration = Duration::from_secs(10);

/// Copies the task's output to ours.
pub struct Follower {
    session: Session,
    /// What the task wants, for the question why it waits.
    wanted: String,
    /// Known from the subscription on.
    pub framework: Option<FrameworkId>,
    copies: JoinSet<anyhow::Result<()>>,
    /// What was said last about the waiting.
    said: String,
}

impl Follower {
    /// Follows nothing yet.
    pub fn new(session: Session, wanted: String) -> Follower {
        Follower { session, wanted, framework: None, copies: JoinSet::new(), said: String::new() }
    }

    /// Begins to copy at the first status of a task that has begun, or has begun and ended.
    pub fn follow(&mut self, status: &TaskStatus) {
        let begun = status.state == TaskState::Running || status.exit.is_some();
        let Some(framework) = self.framework.as_ref().filter(|_| begun && self.copies.is_empty()) else {
            return;
        };
        let request = ReadTaskLogRequest {
            task: status.task_id.to_string(),
            framework: framework.to_string(),
            follow: true,
            ..Default::default()
        };
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let (session, request) = (self.session.clone(), request.clone());
            self.copies.spawn(async move { logs::copy(&session, &request, stream).await });
        }
    }

    /// Waits for the end of the output. What can not be read is said, and does not change the task's status.
    pub async fn finish(&mut self) {
        let all = async {
            while let Some(copied) = self.copies.join_next().await {
                match copied {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => eprintln!("bourse run: the task's output could not be read: {error:#}"),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
        };
        if timeout(REST, all).await.is_err() {
            eprintln!("bourse run: the rest of the task's output did not come within {} s", REST.as_secs());
        }
    }

    /// Says why the task waits, when that is something else than was said last.
    pub async fn say_why(&mut self) {
        let Some(framework) = &self.framework else { return };
        let request = ExplainRequest { subject: framework.to_string(), resources: self.wanted.clone() };
        let Ok(explanation) = self.session.operator.explain(request).await else { return };
        let explanation = explanation.into_inner();
        let mut why = explanation.summary;
        if !explanation.nearest_fix.is_empty() {
            why += &format!("; {}", explanation.nearest_fix);
        }
        if why != self.said {
            eprintln!("bourse run: waiting: {why}");
            self.said = why;
        }
    }
}
