//! What the author wants, made calls by the session's rules: answers to offers, kills, offers wanted or not.

use std::time::Duration;

use bourse_types::{AgentId, Now, OfferId, Reason, Role, Source, TaskId, TaskState, TaskStatus};

use super::resizes::{Asking, Failed};
use super::tasks::Verdict;
use super::{Link, Note, Output, Session, ask_for_sizes};
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
                let resize = self.begin_resize(now, resize);
                ask_for_sizes(resize.into_iter().collect(), out);
            }
            Asked::Resize(resize) => {
                let why = "the master cannot be reached; ask again when it can";
                self.fail_resize(resize, Reason::MasterDisconnected, why);
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
        // Offers that hold and are not used go back without a filter: they are wanted, only not like this.
        if !holds {
            self.decline(answer.ids, Duration::ZERO, out);
            for task in tasks {
                let why = "the offer holds no longer; launch the task on another one".to_owned();
                let agent = Some(task.agent);
                self.own_status(now, task.id, agent, TaskState::Dropped, Reason::InvalidOffers, why);
            }
            for resize in resizes {
                let why = "the offer holds no longer; resize the task with another one";
                self.fail_resize(resize, Reason::InvalidOffers, why);
            }
            return;
        }
        let resizes: Vec<Resize> =
            resizes.into_iter().filter_map(|resize| self.begin_resize(now, resize)).collect();
        if tasks.is_empty() && resizes.is_empty() {
            return self.decline(answer.ids, Duration::ZERO, out);
        }
        for id in &answer.ids {
            self.offers.remove(id);
        }
        let refuse = self.decline_for;
        out.push(Output::Call(Call::Accept { offers: answer.ids, tasks, resizes, refuse }));
    }

    /// The resize, if it is to be sent.
    fn begin_resize(&mut self, now: Now, resize: Resize) -> Option<Resize> {
        if self.tasks.has_ended(&resize.task) {
            let why = "the task has ended, and has no size any more";
            self.fail_resize(resize, Reason::ContainerUpdateFailed, why);
            return None;
        }
        match self.resizes.ask(now, &resize) {
            Asking::New => Some(resize),
            Asking::Repeat => None,
            Asking::Busy(other) => {
                let why = format!("the task is being resized to {other}; wait for the answer to that");
                self.fail_resize(resize, Reason::ContainerUpdateFailed, why);
                None
            }
        }
    }

    /// A resize that the master has not looked at.
    pub(super) fn fail_resize(&mut self, resize: Resize, reason: Reason, why: impl Into<String>) {
        let Resize { task, size: wanted } = resize;
        let has = self.tasks.size_of(&task);
        self.own.push_back(Failed { task, wanted, has, reason: Some(reason), why: why.into() }.event());
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
            let failed = self.resizes.heard(&status);
            self.own.push_back(Event::Update(status));
            self.own.extend(failed.map(Failed::event));
        }
    }

    /// Those of these roles that the framework has; all that it has where none is named. The master leaves another one
    /// aside too, but refuses the next subscription with it, for good.
    fn roles_or_all(&self, roles: Vec<Role>) -> Vec<Role> {
        match roles.is_empty() {
            true => self.info.roles.clone(),
            false => roles.into_iter().filter(|role| self.has_role(role)).collect(),
        }
    }

    pub(super) fn has_role(&self, role: &Role) -> bool {
        let roles = &self.info.roles;
        roles.contains(role) || roles.is_empty() && *role == Role::any()
    }
}

pub(super) fn acknowledge(due: Acknowledgement) -> Output {
    Output::Call(Call::Acknowledge { agent: due.agent, task: due.task, uuid: due.uuid })
}
