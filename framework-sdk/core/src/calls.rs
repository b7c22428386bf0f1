//! What a scheduler asks for.

use std::time::Duration;

use bourse_types::{AgentId, KillPolicy, OfferId, Role, Size, TaskId, TaskSpec};
use bytes::Bytes;

use crate::offer::{Answer, Offer};
use crate::task_ids::TaskIds;

/// A call to the master, on its way.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Resize tasks and launch others on these offers of one agent; what is left of them is declined for `refuse`.
    Accept {
        /// All of one agent and one role. None: tasks are resized to what they have or less.
        offers: Vec<OfferId>,
        /// What to launch.
        tasks: Vec<TaskSpec>,
        /// What to resize, before anything is launched.
        resizes: Vec<Resize>,
        /// How long the rest is not wanted.
        refuse: Duration,
    },
    /// These offers are not wanted, nor any part of them for `refuse`.
    Decline {
        /// Of any agents and roles.
        offers: Vec<OfferId>,
        /// Zero: offer it again at once.
        refuse: Duration,
    },
    /// Make offers for these roles again, and forget what was declined.
    Revive {
        /// Never empty.
        roles: Vec<Role>,
    },
    /// Make no offers for these roles.
    Suppress {
        /// Never empty.
        roles: Vec<Role>,
    },
    /// Kill a task.
    Kill {
        /// The task to end.
        task: TaskId,
        /// Where it is, if that is known.
        agent: Option<AgentId>,
        /// In the place of the task's own.
        policy: Option<KillPolicy>,
    },
    /// An update has been dealt with.
    Acknowledge {
        /// The agent that sent it.
        agent: AgentId,
        /// The task that it is about.
        task: TaskId,
        /// As the update named itself.
        uuid: [u8; 16],
    },
    /// Tell the state of these tasks; without any, of all that are not at their end.
    Reconcile {
        /// Each with its agent, if that is known.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// End the framework and all its tasks.
    Teardown,
}

/// Another size for a running task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The task.
    pub task: TaskId,
    /// Its whole new size.
    pub size: Size,
}

/// A piece of the scheduler's own state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Keep this value under this key, in the place of what was there.
    Save {
        /// Any text.
        key: String,
        /// Any bytes.
        value: Bytes,
    },
    /// Forget this key. One that is not there is forgotten already.
    Forget {
        /// As it was saved.
        key: String,
    },
}

/// An update that the scheduler will acknowledge itself. It can be used once, by type.
///
/// While it is held the agent sends no further update of that task, and sends this one again (which the session does
/// not show). One that is lost with the process is sent again to the next.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "without its acknowledgement, a task has no further updates"]
pub struct Acknowledgement {
    pub(crate) agent: AgentId,
    pub(crate) task: TaskId,
    pub(crate) uuid: [u8; 16],
}

impl Acknowledgement {
    /// The task that the update is about.
    pub fn task(&self) -> &TaskId {
        &self.task
    }
}

/// Collects what a scheduler asks for while it handles one event.
///
/// All is carried out in order after the handler returned; writes first, so that no launch or acknowledgement leaves
/// before the state that it rests on is durable.
#[derive(Debug)]
pub struct Calls {
    pub(crate) asked: Vec<Asked>,
    pub(crate) writes: Vec<Write>,
    pub(crate) closing: Option<Closing>,
    /// What the event at hand has to be acknowledged with.
    pub(crate) due: Option<Acknowledgement>,
    ids: TaskIds,
}

/// What was asked for, before the session's rules.
#[derive(Debug)]
pub(crate) enum Asked {
    Answer(Answer),
    Decline { ids: Vec<OfferId>, refuse: Duration },
    Kill { task: TaskId, policy: Option<KillPolicy> },
    Resize(Resize),
    Revive { roles: Vec<Role> },
    Suppress { roles: Vec<Role> },
    Reconcile,
    Acknowledge(Acknowledgement),
}

/// How the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    Stop,
    Teardown,
}

impl Calls {
    pub(crate) fn new(seed: u64) -> Calls {
        Calls { asked: Vec::new(), writes: Vec::new(), closing: None, due: None, ids: TaskIds::new(seed) }
    }

    /// A new task id that no task ever had, such as `hello-4k2qz7mb-17`.
    pub fn task_id(&mut self, prefix: &str) -> TaskId {
        self.ids.next(prefix)
    }

    /// Launches the tasks that were put into the offer. What is left of it, and an offer without tasks, is declined for
    /// the framework's usual time; [`Calls::revive`] shortens that.
    ///
    /// Each task is told of by at least one update: a task on an offer that no longer holds as TASK_DROPPED.
    pub fn accept(&mut self, offer: Offer) {
        self.asked.push(Asked::Answer(offer.answer()));
    }

    /// Does not want the offer, nor any part of it for `refuse`; a larger offer of that agent may still come. The tasks
    /// that were put into it are forgotten: they never existed.
    pub fn decline(&mut self, offer: Offer, refuse: Duration) {
        self.asked.push(Asked::Decline { ids: offer.answer().ids, refuse });
    }

    /// Kills a task, by its own kill policy. It is repeated until the task has ended, also over disconnections; asking
    /// again changes nothing. A task that has ended already stays as it is.
    pub fn kill(&mut self, task: &TaskId) {
        self.asked.push(Asked::Kill { task: task.clone(), policy: None });
    }

    /// Kills a task with this policy in the place of its own. Asking again with a shorter grace shortens a kill that is
    /// under way.
    pub fn kill_with(&mut self, task: &TaskId, policy: KillPolicy) {
        self.asked.push(Asked::Kill { task: task.clone(), policy: Some(policy) });
    }

    /// Gives a running task less of what it has, or other limits; for more of anything there is
    /// [`Offer::resize`](crate::Offer::resize). `size` is all that it shall have: what does not change is repeated, ports too.
    ///
    /// The answer is an update with this `size` when it is done, and else an [`Event::ResizeFailed`] with the reason;
    /// without a connection that comes at once. It is repeated until it is answered, also over disconnections. A repeat by
    /// the author while it is under way changes nothing, and another size fails.
    ///
    /// [`Event::ResizeFailed`]: crate::Event::ResizeFailed
    pub fn shrink(&mut self, task: &TaskId, size: Size) {
        self.asked.push(Asked::Resize(Resize { task: task.clone(), size }));
    }

    /// Wants offers again, for all roles, and forgets what was declined.
    pub fn revive(&mut self) {
        self.revive_roles(Vec::new());
    }

    /// Wants offers again for these roles; none means all. A role that the framework does not have is left aside.
    pub fn revive_roles(&mut self, roles: Vec<Role>) {
        self.asked.push(Asked::Revive { roles });
    }

    /// Wants no offers, for any role, until it revives. An idle framework should say so: what it does not hold, others
    /// can use at once. Asking again changes nothing.
    pub fn suppress(&mut self) {
        self.suppress_roles(Vec::new());
    }

    /// Wants no offers for these roles; none means all. A role that the framework does not have is left aside.
    pub fn suppress_roles(&mut self, roles: Vec<Role>) {
        self.asked.push(Asked::Suppress { roles });
    }

    /// Asks for the state of every task now. The session does so by itself after each gap and every quarter of an hour.
    pub fn reconcile(&mut self) {
        self.asked.push(Asked::Reconcile);
    }

    /// Does not acknowledge the update at hand when the handler returns. `None` where nothing is to be acknowledged:
    /// the event is no update, or the update wants no acknowledgement, or this was asked before.
    pub fn acknowledge_later(&mut self) -> Option<Acknowledgement> {
        self.due.take()
    }

    /// Acknowledges an update that was put off.
    pub fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        self.asked.push(Asked::Acknowledge(acknowledgement));
    }

    /// Keeps a piece of the scheduler's state, so that its next life finds it. It is durable before any call or
    /// acknowledgement of this event leaves.
    pub fn save(&mut self, key: impl Into<String>, value: impl Into<Bytes>) {
        self.writes.push(Write::Save { key: key.into(), value: value.into() });
    }

    /// Forgets a piece of the scheduler's state.
    pub fn forget(&mut self, key: impl Into<String>) {
        self.writes.push(Write::Forget { key: key.into() });
    }

    /// Ends the session after this event's calls. The framework and its tasks go on; the master waits for its next life
    /// as long as its failover timeout says.
    pub fn stop(&mut self) {
        self.closing = self.closing.max(Some(Closing::Stop));
    }

    /// Ends the framework for good: all its tasks are killed, and its id is never accepted again. It is carried out as
    /// soon as the master can be reached.
    pub fn teardown(&mut self) {
        self.closing = Some(Closing::Teardown);
    }
}
