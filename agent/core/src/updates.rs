//! Telling the master: one update in flight for each task, in order, again and again until it is acknowledged.
//!
//! The queue of a task is part of its checkpoint; here are the retries, and the answers about tasks that are not ours.

use std::time::Duration;

use bourse_types::{ContainerStatus, ExecutorId, Mono, Now, Reason, Source, TaskState, TaskStatus};

use crate::agent::Agent;
use crate::checkpoint::Record;
use crate::config::Config;
use crate::effect::{Effect, FromAgent, StatusUpdate};
use crate::event::{LinkId, TaskKey};

/// When an update in flight is sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) next: Mono,
    wait: Duration,
}

impl Retry {
    fn first(now: Now, config: &Config) -> Retry {
        Retry { next: now.mono + config.retry_first, wait: config.retry_first }
    }

    fn doubled(self, now: Now, config: &Config) -> Retry {
        let wait = self.wait.saturating_mul(2).min(config.retry_max);
        Retry { next: now.mono + wait, wait }
    }

    fn is_due(self, now: Now) -> bool {
        self.next <= now.mono
    }
}

/// An update about a task that is not ours.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: TaskStatus,
    retry: Option<Retry>,
}

impl Answer {
    pub(crate) fn deadline(&self) -> Mono {
        self.retry.map_or(Mono::MAX, |retry| retry.next)
    }
}

impl Agent {
    /// A status of a task of ours, with everything that each of them carries.
    pub(crate) fn status(&mut self, now: Now, key: &TaskKey, state: TaskState, source: Source) -> TaskStatus {
        let mut status = TaskStatus::new(key.task.clone(), state, source, now.wall);
        status.agent_id = self.state.agent.clone();
        // Mesos' rule for a task without an executor of its own; both kinds of id follow the same rules.
        status.executor_id = ExecutorId::new(&key.task).ok();
        status.uuid = Some(self.ids.uuid());
        status.container = self.state.tasks.get(key).map(|task| ContainerStatus {
            container_id: task.container.clone(),
            pid: task.started.map(|(pid, _)| pid),
        });
        status
    }

    /// Writes an update down, and sends it when none is before it. A silenced task is not spoken of.
    pub(crate) fn tell(&mut self, now: Now, key: &TaskKey, status: TaskStatus, out: &mut Vec<Effect>) {
        if self.state.tasks.get(key).is_none_or(|task| task.silent) {
            return;
        }
        self.keep(Record::UpdateMade { task: key.clone(), status: Box::new(status) }, out);
        if self.live.get(key).is_some_and(|live| live.retry.is_none()) {
            self.send_first(now, key, out);
        }
    }

    /// The next one may go. A repeat, or one for an update that is not in flight, changes nothing.
    pub(crate) fn on_acknowledged(&mut self, now: Now, key: &TaskKey, uuid: [u8; 16], out: &mut Vec<Effect>) {
        if self.answers.get(key).is_some_and(|answer| answer.status.uuid == Some(uuid)) {
            self.answers.remove(key);
            return;
        }
        let Some(task) = self.state.tasks.get(key) else { return };
        if task.unacknowledged.front().is_none_or(|first| first.uuid != Some(uuid)) {
            return;
        }
        let over = task.unacknowledged.len() == 1 && task.has_ended();
        self.keep(Record::UpdateAcknowledged { task: key.clone(), uuid }, out);
        if over {
            self.forget(key, out);
            return;
        }
        if let Some(live) = self.live.get_mut(key) {
            live.retry = None;
        }
        self.send_first(now, key, out);
    }

    /// Answers for a task that the master believes to run here. A repeat while an answer is on its way changes nothing.
    pub(crate) fn answer_unknown(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        let why = "the agent knows no such task; it was never launched here, or its end was acknowledged";
        self.answer(now, key, TaskState::Dropped, Reason::Reconciliation, why, out);
    }

    /// Tells the end of a task that is not ours, until it is acknowledged. That it ended is written down first, so that
    /// a launch that comes late does not run it after all.
    pub(crate) fn answer(
        &mut self,
        now: Now,
        key: &TaskKey,
        state: TaskState,
        reason: Reason,
        why: &str,
        out: &mut Vec<Effect>,
    ) {
        if self.answers.contains_key(key) {
            return;
        }
        if !self.state.ended.contains(key) && !self.state.tasks.contains_key(key) {
            self.keep(Record::TaskForgotten { task: key.clone() }, out);
        }
        let mut status = self.status(now, key, state, Source::Agent);
        status.container = None;
        status.reason = Some(reason);
        status.message = Some(why.to_owned());
        let retry = self.link.registered().map(|link| {
            out.push(update(link, key, &status, &status));
            Retry::first(now, &self.config)
        });
        self.answers.insert(key.clone(), Answer { status, retry });
    }

    /// The link is up: what waits is sent, whether it was sent by an older link or not.
    pub(crate) fn send_all(&mut self, now: Now, out: &mut Vec<Effect>) {
        let keys: Vec<TaskKey> = self.live.keys().cloned().collect();
        for key in &keys {
            self.send_first(now, key, out);
        }
        let Some(link) = self.link.registered() else { return };
        for (key, answer) in &mut self.answers {
            out.push(update(link, key, &answer.status, &answer.status));
            answer.retry = Some(Retry::first(now, &self.config));
        }
    }

    /// The link is down: nothing is in flight.
    pub(crate) fn hold_all(&mut self) {
        self.live.values_mut().for_each(|live| live.retry = None);
        self.answers.values_mut().for_each(|answer| answer.retry = None);
    }

    pub(crate) fn tick_updates(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(retry) = self.live.get(key).and_then(|live| live.retry).filter(|retry| retry.is_due(now))
        else {
            return;
        };
        self.send_first(now, key, out);
        if let Some(live) = self.live.get_mut(key) {
            live.retry = Some(retry.doubled(now, &self.config));
        }
    }

    pub(crate) fn tick_answers(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(link) = self.link.registered() else { return };
        for (key, answer) in &mut self.answers {
            if let Some(retry) = answer.retry.filter(|retry| retry.is_due(now)) {
                out.push(update(link, key, &answer.status, &answer.status));
                answer.retry = Some(retry.doubled(now, &self.config));
            }
        }
    }

    /// Whether somebody still waits to be told something by the present link.
    pub(crate) fn has_unacknowledged(&self) -> bool {
        !self.answers.is_empty() || self.state.tasks.values().any(|task| !task.unacknowledged.is_empty())
    }

    /// Sends the oldest unacknowledged update of a task, if there is one and a master to hear it.
    fn send_first(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(link) = self.link.registered() else { return };
        let Some(task) = self.state.tasks.get(key) else { return };
        let (Some(first), Some(latest)) = (task.unacknowledged.front(), &task.latest) else { return };
        out.push(update(link, key, first, latest));
        if let Some(live) = self.live.get_mut(key) {
            live.retry = Some(Retry::first(now, &self.config));
        }
    }
}

fn update(link: LinkId, key: &TaskKey, status: &TaskStatus, latest: &TaskStatus) -> Effect {
    let (status, latest) = (status.clone(), latest.clone());
    let message =
        FromAgent::Update(Box::new(StatusUpdate { framework: key.framework.clone(), status, latest }));
    Effect::Send { link, message }
}
