//! What the session knows about each task, and what a status means beside it.

use std::collections::{BTreeMap, VecDeque};

use bourse_types::{AgentId, Reason, Size, TaskId, TaskState, TaskStatus};

/// At most this many tasks that have ended are remembered, so that a late repeat of their last update is not shown
/// again. A repeat comes after 10 s to 10 min; this is enough for sixteen ends a second all that time.
pub(super) const ENDED_REMEMBERED: usize = 10_000;

/// The tasks that are not at their end, and the latest that are.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    live: BTreeMap<TaskId, Live>,
    ended: BTreeMap<TaskId, Ended>,
    order: VecDeque<TaskId>,
}

#[derive(Debug)]
struct Live {
    agent: Option<AgentId>,
    /// `None`: nobody has told yet, as of a task of a former life.
    state: Option<TaskState>,
    /// What it was told to have last; `None`: nobody has told that it was resized.
    size: Option<Size>,
    shown: Shown,
}

#[derive(Debug)]
struct Ended {
    state: TaskState,
    shown: Shown,
}

/// At most this many updates of a task are remembered. An agent has one in flight at a time, so that one would do if nothing on
/// the way ever came late.
const SHOWN_REMEMBERED: usize = 8;

/// The updates of a task that were shown last.
#[derive(Debug, Default)]
struct Shown(VecDeque<([u8; 16], Dealt)>);

/// Whether the scheduler has dealt with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dealt {
    Acknowledged,
    PutOff,
}

impl Shown {
    fn verdict(&self, uuid: Option<[u8; 16]>) -> Option<Verdict> {
        let (_, dealt) = self.0.iter().find(|(shown, _)| Some(*shown) == uuid)?;
        Some(match dealt {
            Dealt::Acknowledged => Verdict::Repeat,
            Dealt::PutOff => Verdict::PutOff,
        })
    }

    fn insert(&mut self, uuid: [u8; 16]) {
        if self.0.len() == SHOWN_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((uuid, Dealt::Acknowledged));
    }

    fn check(&self, task: &TaskId, broken: &mut Vec<String>) {
        let again = |at: usize| self.0.iter().take(at).any(|(uuid, _)| *uuid == self.0[at].0);
        if self.0.len() > SHOWN_REMEMBERED || (0..self.0.len()).any(again) {
            broken.push(format!("of task {task} too many updates are remembered, or one of them twice"));
        }
    }

    fn mark(&mut self, uuid: [u8; 16], dealt: Dealt) {
        if let Some((_, before)) = self.0.iter_mut().find(|(shown, _)| *shown == uuid) {
            *before = dealt;
        }
    }
}

/// What to do with a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// News: show it, then acknowledge.
    Show,
    /// Shown before and acknowledged: the acknowledgement was lost. Acknowledge again.
    Repeat,
    /// Shown before, and the scheduler has not acknowledged it yet.
    PutOff,
    /// Older than what was shown, or no news: acknowledge, do not show.
    Stale,
    /// It was reported lost, and is running: nobody owns it any more. Acknowledge, do not show, kill it.
    Back,
}

impl Tasks {
    /// A task that may be alive, of a former life.
    pub(super) fn remember(&mut self, task: TaskId, agent: Option<AgentId>) {
        self.live.entry(task).or_insert(Live { agent, state: None, size: None, shown: Shown::default() });
    }

    /// A task is being launched. `false`: there is or was a task of this id.
    pub(super) fn launched(&mut self, task: &TaskId, agent: &AgentId) -> bool {
        if self.live.contains_key(task) || self.ended.contains_key(task) {
            return false;
        }
        let live = Live {
            agent: Some(agent.clone()),
            state: Some(TaskState::Staging),
            size: None,
            shown: Shown::default(),
        };
        self.live.insert(task.clone(), live);
        true
    }

    /// Weighs a status against what is known, and takes it over if it is news.
    pub(super) fn judge(&mut self, status: &TaskStatus) -> Verdict {
        if let Some(ended) = self.ended.get(&status.task_id) {
            return ended.judge(status);
        }
        // Nobody knows the task. That is worth telling once; if it turns up again after all, that is news.
        if status.state == TaskState::Unknown {
            self.live.remove(&status.task_id);
            return Verdict::Show;
        }
        let live = self.live.entry(status.task_id.clone()).or_insert(Live {
            agent: None,
            state: None,
            size: None,
            shown: Shown::default(),
        });
        if let Some(verdict) = live.shown.verdict(status.uuid) {
            return verdict;
        }
        if status.agent_id.is_some() {
            live.agent.clone_from(&status.agent_id);
        }
        let resized = status.size.is_some() && status.size.as_deref() != live.size.as_ref();
        match live.state {
            None => live.state = Some(status.state),
            // An answer to a reconciliation that changes nothing.
            Some(state)
                if state == status.state && status.reason == Some(Reason::Reconciliation) && !resized =>
            {
                return Verdict::Stale;
            }
            Some(state) => match state.step(status.state) {
                Some(next) => live.state = Some(next),
                None => return Verdict::Stale,
            },
        }
        if resized {
            live.size = status.size.as_deref().cloned();
        }
        if let Some(uuid) = status.uuid {
            live.shown.insert(uuid);
        }
        if status.state.is_terminal() {
            self.end(&status.task_id, status.state);
        }
        Verdict::Show
    }

    /// The scheduler has put off the acknowledgement of an update.
    pub(super) fn put_off(&mut self, task: &TaskId, uuid: [u8; 16]) {
        self.mark(task, uuid, Dealt::PutOff);
    }

    /// The scheduler has acknowledged what it had put off.
    pub(super) fn acknowledged(&mut self, task: &TaskId, uuid: [u8; 16]) {
        self.mark(task, uuid, Dealt::Acknowledged);
    }

    /// Where a task is, if it is alive and that is known.
    pub(super) fn agent_of(&self, task: &TaskId) -> Option<AgentId> {
        self.live.get(task)?.agent.clone()
    }

    /// What a task was told to have last, if it is alive and has been resized.
    pub(super) fn size_of(&self, task: &TaskId) -> Option<Size> {
        self.live.get(task)?.size.clone()
    }

    /// Whether it is known to have ended.
    pub(super) fn has_ended(&self, task: &TaskId) -> bool {
        self.ended.contains_key(task)
    }

    /// Whether it may be alive.
    pub(super) fn is_live(&self, task: &TaskId) -> bool {
        self.live.contains_key(task)
    }

    /// What must always hold of these tables.
    pub(super) fn check(&self, broken: &mut Vec<String>) {
        for (task, live) in &self.live {
            if self.ended.contains_key(task) {
                broken.push(format!("task {task} is alive and has ended"));
            }
            if let Some(state) =
                live.state.filter(|state| state.is_terminal() || *state == TaskState::Unknown)
            {
                broken.push(format!("task {task} is alive and {state}"));
            }
            live.shown.check(task, broken);
        }
        for (task, ended) in &self.ended {
            if !ended.state.is_terminal() {
                broken.push(format!("task {task} has ended as {}", ended.state));
            }
            ended.shown.check(task, broken);
        }
        let (listed, ended) = (self.order.len(), self.ended.len());
        let mut edges = self.order.front().into_iter().chain(self.order.back());
        if listed != ended || ended > ENDED_REMEMBERED || !edges.all(|task| self.ended.contains_key(task)) {
            broken.push(format!("{ended} ends are remembered, and {listed} in their order"));
        }
    }

    /// All that may be alive.
    pub(super) fn live(&self) -> impl Iterator<Item = (&TaskId, Option<&AgentId>)> {
        self.live.iter().map(|(task, live)| (task, live.agent.as_ref()))
    }

    fn mark(&mut self, task: &TaskId, uuid: [u8; 16], dealt: Dealt) {
        if let Some(live) = self.live.get_mut(task) {
            live.shown.mark(uuid, dealt);
        } else if let Some(ended) = self.ended.get_mut(task) {
            ended.shown.mark(uuid, dealt);
        }
    }

    fn end(&mut self, task: &TaskId, state: TaskState) {
        let shown = self.live.remove(task).map(|live| live.shown).unwrap_or_default();
        self.ended.insert(task.clone(), Ended { state, shown });
        self.order.push_back(task.clone());
        if self.order.len() > ENDED_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

impl Ended {
    fn judge(&self, status: &TaskStatus) -> Verdict {
        if let Some(verdict) = self.shown.verdict(status.uuid) {
            return verdict;
        }
        use TaskState::*;
        match (self.state, status.state) {
            // These ends are what somebody believed; the agent knows better.
            (Lost | Dropped | Gone | GoneByOperator, Staging | Starting | Running | Killing) => Verdict::Back,
            (Lost | Dropped | Gone | GoneByOperator, _) | (Finished | Failed | Killed | Error, _) => {
                Verdict::Stale
            }
            // Not an end, so never stored as one.
            (Staging | Starting | Running | Killing | Unreachable | Unknown, _) => Verdict::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_types::{Source, Wall};

    #[test]
    fn only_so_many_ended_tasks_are_remembered() {
        let mut tasks = Tasks::default();
        let end = |i: usize| {
            let id = TaskId::new(format!("t{i}")).expect("valid");
            TaskStatus::new(id, TaskState::Finished, Source::Agent, Wall(0))
        };
        for i in 0..ENDED_REMEMBERED + 5 {
            assert_eq!(tasks.judge(&end(i)), Verdict::Show);
        }
        assert_eq!(
            (tasks.ended.len(), tasks.order.len(), tasks.live.len()),
            (ENDED_REMEMBERED, ENDED_REMEMBERED, 0)
        );
        assert_eq!(tasks.judge(&end(ENDED_REMEMBERED)), Verdict::Stale);
    }
}
