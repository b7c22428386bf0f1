//! What the author wants, made calls by the session's rules: answers to offers, kills, offers wanted or not.

use std::time::Duration;

use bourse_types::{AgentId, Now, OfferId, Reason, Role, Source, TaskId, TaskState, TaskStatus};

use super::tasks::Verdict;
use super::{Link, Note, Output, Session};
use crate::calls::{Acknowledgement, Asked, Call, Resize};
use crate::offer::Answer;
use crate::scheduler::{Event, Scheduler};

impl<S: Scheduler> Session<S> {
    pub(super) fn on_asked(&mut self, now: Now, asked: Asked, out: &mut Vec<Output>) {
        let subscribed = matches!(self.link, Link::Subscribed { .. });
        match asked {
            Asked::Answer(answer) => self.on_answer(now, answer, out),
            Asked::Decline { ids, refuse } => self.decline(ids, refuse, out),
            Asked::Kill { task, policy } => {
                if !self.tasks.has_ended(&task) && self.kills.ask(now, &task, policy) && subscribed {
                    let agent = self.tasks.agent_of(&task);
                    out.push(Output::Call(Call::Kill { task, agent, policy }));
                }
            }
            Asked::Resize(resize) if subscribed => {
                let (offers, tasks, refuse) = (Vec::new(), Vec::new(), Duration::ZERO);
                out.push(Output::Call(Call::Accept { offers, tasks, resizes: vec![resize], refuse }));
            }
            Asked::Resize(resize) => {
                let why = "the master cannot be reached; ask again when it can";
                self.not_resized(now, vec![resize], Reason::MasterDisconnected, why);
            }
            Asked::Revive { roles } => {
                let roles = self.roles_or_all(roles);
                for role in &roles {
                    self.suppressed.remove(role);
                    self.revived.insert(role.clone());
                }
                if subscribed && !roles.is_empty() {
                    out.push(Output::Call(Call::Revive { roles }));
                }
            }
            Asked::Suppress { roles } => {
                let mut roles = self.roles_or_all(roles);
                roles.retain(|role| self.suppressed.insert(role.clone()));
                for role in &roles {
                    self.revived.remove(role);
                }
                if subscribed && !roles.is_empty() {
                    out.push(Output::Call(Call::Suppress { roles }));
                }
            }
            Asked::Reconcile if subscribed => self.begin_to_ask(now, out),
            Asked::Reconcile => {} // It comes with the next subscription.
            Asked::Acknowledge(acknowledgement) => {
                self.tasks.acknowledged(&acknowledgement.task, acknowledgement.uuid);
                if subscribed {
                    out.push(acknowledge(acknowledgement)); // Otherwise the agent sends the update again, and so do we.
                }
            }
        }
    }

    pub(super) fn on_answer(&mut self, now: Now, answer: Answer, out: &mut Vec<Output>) {
        if answer.tasks.is_empty() && answer.resizes.is_empty() {
            return self.decline(answer.ids, self.decline_for, out);
        }
        let (mut tasks, resizes) = (answer.tasks, answer.resizes);
        tasks.retain(|task| {
            let fresh = self.tasks.launched(&task.id, &task.agent);
            if !fresh {
                // Not by a status: it would be taken for one of the other task of this id.
                let why = format!(
                    "task {} is not launched: its id was used before; take a new one from Calls::task_id",
                    task.id
                );
                out.push(Output::Note(Note::Refused(why.clone())));
                self.own.push_back(Event::Error(why));
            }
            fresh
        });
        let holds = answer.ids.iter().all(|id| self.offers.contains(id));
        if !holds || tasks.is_empty() && resizes.is_empty() {
            // Those of the offers that hold go back without a filter: they are wanted, only not like this.
            self.decline(answer.ids, Duration::ZERO, out);
            for task in tasks {
                let why = "the offer holds no longer; launch the task on another one".to_owned();
                let agent = Some(task.agent);
                self.own_status(now, task.id, agent, TaskState::Dropped, Reason::InvalidOffers, why);
            }
            let why = "the offer holds no longer; resize the task with another one";
            self.not_resized(now, resizes, Reason::InvalidOffers, why);
            return;
        }
        for id in &answer.ids {
            self.offers.remove(id);
        }
        let refuse = self.decline_for;
        out.push(Output::Call(Call::Accept { offers: answer.ids, tasks, resizes, refuse }));
    }

    /// Tasks keep the size that they have, in the state that they are in. One that is not alive has nothing to keep.
    pub(super) fn not_resized(&mut self, now: Now, resizes: Vec<Resize>, reason: Reason, why: &str) {
        for Resize { task, size: _ } in resizes {
            let Some(state) = self.tasks.state_of(&task) else { continue };
            let agent_id = self.tasks.agent_of(&task);
            let status = TaskStatus {
                agent_id,
                reason: Some(reason),
                message: Some(why.to_owned()),
                ..TaskStatus::new(task, state, Source::Master, now.wall)
            };
            self.own.push_back(Event::Update(status));
        }
    }

    fn decline(&mut self, ids: Vec<OfferId>, refuse: Duration, out: &mut Vec<Output>) {
        let offers: Vec<OfferId> = ids.into_iter().filter(|id| self.offers.remove(id)).collect();
        if !offers.is_empty() {
            out.push(Output::Call(Call::Decline { offers, refuse }));
        }
    }

    /// A status that only the session knows.
    pub(super) fn own_status(
        &mut self,
        now: Now,
        task: TaskId,
        agent: Option<AgentId>,
        state: TaskState,
        reason: Reason,
        why: String,
    ) {
        let mut status = TaskStatus::new(task, state, Source::Master, now.wall);
        status.agent_id = agent;
        status.reason = Some(reason);
        status.message = Some(why);
        if self.tasks.judge(&status) == Verdict::Show {
            self.reconcile.told(&status.task_id);
            self.own.push_back(Event::Update(status));
        }
    }

    fn roles_or_all(&self, roles: Vec<Role>) -> Vec<Role> {
        if roles.is_empty() { self.info.roles.clone() } else { roles }
    }
}

pub(super) fn acknowledge(due: Acknowledgement) -> Output {
    Output::Call(Call::Acknowledge { agent: due.agent, task: due.task, uuid: due.uuid })
}
