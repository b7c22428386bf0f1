//! Another size for a running task: what it gains comes out of offers, what it gives up is free once its agent has said
//! that it is done.
//!
//! Until then the master counts the greater of both, resource by resource: whatever the agent does, no more can be in
//! use than is counted. One resize of a task is under way at a time. It stands on the task and is said again whenever
//! its agent comes back, as a kill is; an agent tells what its tasks hold when it registers, so one whose answer was
//! lost answers by that.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bourse_types::{
    AgentCapability, AgentId, FrameworkId, Milli, Name, Now, Reason, ResourceValue, Resources, Role, Size,
    TaskId, TaskState, TaskStatus,
};

use crate::agents::Incapable;
use crate::effect::{Effect, Effects, ToAgent};
use crate::event::{LinkId, Resize, TaskInfo, TaskReport, TaskResized};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::offers::{BadOffers, LAUNCHES_PER_ACCEPT_MAX};
use crate::tasks::launch::{BadTask, Place, check_size};
use crate::tasks::{Task, reconcile};

/// Why a task keeps the size that it has: told as an update of the task with REASON_CONTAINER_UPDATE_FAILED.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadResize {
    /// The door could not make sense of it.
    #[error("{0}")]
    Form(String),
    /// Only what runs has limits that can be changed.
    #[error("the task is {0}; resize it while it is TASK_RUNNING")]
    NotRunning(TaskState),
    /// It is about to end.
    #[error("the task is being killed; launch another one")]
    BeingKilled,
    /// One at a time.
    #[error("the task is being resized to {0}; wait for the answer to that")]
    UnderWay(Size),
    /// The offers are of another agent than the task's.
    #[error(
        "the task is on agent {here} and the offers are of agent {offered}; accept offers of the task's agent"
    )]
    OtherAgent {
        /// The task's.
        here: AgentId,
        /// Whose the offers are.
        offered: AgentId,
    },
    /// The offers are for another role than the task's.
    #[error(
        "the task is of role {here} and the offers are for role {offered}; accept offers for the task's role"
    )]
    OtherRole {
        /// The task's.
        here: Role,
        /// For which the offers are.
        offered: Role,
    },
    /// Its agent would not even see the command.
    #[error("{0}; launch another task in its place, or update the agent")]
    Incapable(Incapable),
    /// Something that no task gets or loses while it runs.
    #[error(
        "the resize changes {0}, which a running task keeps as it is: change amounts such as cpus, mem and disk, and \
         repeat the rest"
    )]
    Fixed(Name),
    /// No task can have this size.
    #[error(transparent)]
    Size(BadTask),
    /// It gains more than is left.
    #[error(
        "the task gains more than is offered: it needs {more} more and {} is left; take less or accept more offers",
        if left.is_empty() { "nothing".to_owned() } else { left.to_string() }
    )]
    TooMuch {
        /// What it would gain.
        more: Resources,
        /// What is left of the offers.
        left: Resources,
    },
    /// In one call.
    #[error(
        "the call has {0} operations and one may have {LAUNCHES_PER_ACCEPT_MAX}; resize the rest by the next call"
    )]
    InCall(usize),
}

impl Task {
    /// What it counts for: what it holds, and while it is being resized the greater of that and what it is to hold.
    pub fn held(&self) -> Cow<'_, Resources> {
        match &self.resize {
            None => Cow::Borrowed(&self.info.resources),
            Some(wanted) => Cow::Owned(self.info.resources.covering(&wanted.resources)),
        }
    }

    /// Its size, as its agent has confirmed it.
    pub(crate) fn size(&self) -> Size {
        size_of(&self.info)
    }
}

fn size_of(info: &TaskInfo) -> Size {
    let named = |(name, limit): (&String, &Option<Milli>)| Some((Name::new(name).ok()?, *limit));
    Size { resources: info.resources.clone(), limits: info.limits.iter().filter_map(named).collect() }
}

fn limits(size: &Size) -> BTreeMap<String, Option<Milli>> {
    size.limits.iter().map(|(name, limit)| (name.as_str().to_owned(), *limit)).collect()
}

/// What tasks count for together.
pub(crate) fn sum_held<'a>(tasks: impl Iterator<Item = &'a Task>) -> Resources {
    tasks.fold(Resources::new(), |mut sum, task| {
        sum.add(&task.held());
        sum
    })
}

impl Master {
    /// Orders a resize from what is left of the accepted offers, or tells why not. Answers what is left then.
    ///
    /// A task that is not there is answered as a reconciliation would, one that has ended not at all: its end is on the
    /// way. A repeat of the resize that is under way changes nothing.
    pub(crate) fn resize(
        &mut self,
        now: Now,
        place: &Place<'_>,
        left: Resources,
        resize: Resize,
        out: &mut Effects,
    ) -> Resources {
        let Resize { task: id, wanted } = resize;
        let Some(task) = self.task(place.framework, &id).filter(|task| !task.state.is_terminal()) else {
            self.answer_if_absent(now, place.framework, &id, out);
            return left;
        };
        let checked = match wanted {
            Err(why) => Err(BadResize::Form(why)),
            Ok(size) if task.resize.as_ref() == Some(&size) => return left,
            Ok(size) => self
                .can_resize(&task.agent)
                .and_then(|()| check_resize(place, &left, task, &size))
                .map(|(more, rest)| (size, more, rest)),
        };
        match checked {
            Ok((size, more, rest)) => {
                self.begin_resize(place.framework, &id, size, &more, out);
                rest
            }
            Err(refusal) => {
                let why = refusal.to_string();
                self.refuse_resize(now, place.framework, &id, Reason::ContainerUpdateFailed, &why, out);
                left
            }
        }
    }

    /// The same where no offers were named: nothing can be gained, and each task is judged where it is.
    pub(crate) fn resize_in_place(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        resizes: Vec<Resize>,
        out: &mut Effects,
    ) {
        let count = resizes.len();
        for (number, resize) in resizes.into_iter().enumerate() {
            if number >= LAUNCHES_PER_ACCEPT_MAX {
                let why = BadResize::InCall(count).to_string();
                self.refuse_resize(now, framework, &resize.task, Reason::ContainerUpdateFailed, &why, out);
                continue;
            }
            let there =
                self.task(framework, &resize.task).map(|task| (task.agent.clone(), task.role.clone()));
            match there {
                Some((agent, role)) => {
                    let place = Place { framework, agent: &agent, role: &role };
                    self.resize(now, &place, Resources::new(), resize, out);
                }
                None => self.answer_if_absent(now, framework, &resize.task, out),
            }
        }
    }

    /// The offers of the call are no good: the tasks stay as they are.
    pub(crate) fn refuse_resizes(
        &self,
        now: Now,
        framework: &FrameworkId,
        resizes: &[Resize],
        refusal: &BadOffers,
        out: &mut Effects,
    ) {
        for resize in resizes {
            let why = refusal.to_string();
            self.refuse_resize(now, framework, &resize.task, Reason::InvalidOffers, &why, out);
        }
    }

    fn answer_if_absent(&self, now: Now, framework: &FrameworkId, id: &TaskId, out: &mut Effects) {
        if self.task(framework, id).is_none() {
            self.answer_each(now, framework, &[(id.clone(), None)], out);
        }
    }

    /// A task keeps its size: its framework and the history hear why.
    pub(crate) fn refuse_resize(
        &self,
        now: Now,
        framework: &FrameworkId,
        id: &TaskId,
        reason: Reason,
        why: &str,
        out: &mut Effects,
    ) {
        let Some(task) = self.task(framework, id).filter(|task| !task.state.is_terminal()) else {
            return self.answer_if_absent(now, framework, id, out);
        };
        let status = TaskStatus {
            reason: Some(reason),
            message: Some(why.to_owned()),
            size: Some(Box::new(task.size())),
            ..reconcile::in_short(task, task.state, task.latest(), now.wall)
        };
        let entry = Entry::new(Kind::Task, format!("task {id} was not resized: {why}"));
        let entry = entry.framework(framework).task(id).agent(&task.agent).reason(reason);
        self.tell_status(framework, status, out);
        out.push(Effect::Record(entry));
    }

    fn begin_resize(
        &mut self,
        framework: &FrameworkId,
        id: &TaskId,
        size: Size,
        more: &Resources,
        out: &mut Effects,
    ) {
        let task = self.task_mut(framework, id);
        let (agent, role) = (task.agent.clone(), task.role.clone());
        let summary = format!("task {id} is resized on agent {agent} from {} to {size}", task.size());
        task.resize = Some(size);
        self.hold_allocated(&agent, framework, &role, more);
        self.order_resize(framework, id, out);
        let entry = Entry::new(Kind::Task, summary).framework(framework).task(id).agent(&agent).role(&role);
        out.push(Effect::Record(entry));
    }

    fn order_resize(&self, framework: &FrameworkId, id: &TaskId, out: &mut Effects) {
        let Some(task) = self.task(framework, id) else { return };
        if let Some(size) = task.resize.clone() {
            let message = ToAgent::Resize { framework: framework.clone(), task: id.clone(), size };
            self.command(&task.agent, message, out);
        }
    }

    fn can_resize(&self, agent: &AgentId) -> Result<(), BadResize> {
        let agent = self.agents.get(agent).expect("a task in the table is on an agent in the table");
        agent.can(&[AgentCapability::TaskResize].into()).map_err(BadResize::Incapable)
    }

    /// An agent that is back hears of the resizes that it may have missed; one that is under way there, it ignores. One
    /// that came back as an older release will never answer: its tasks keep what they have.
    pub(crate) fn repeat_resizes(&mut self, now: Now, agent: &AgentId, out: &mut Effects) {
        let refusal = self.can_resize(agent).err();
        let tasks = self.agents.get(agent).expect("it has just registered").tasks.clone();
        for (framework, id) in &tasks {
            let Some(refusal) = &refusal else {
                self.order_resize(framework, id, out);
                continue;
            };
            let under_way = |task: &&Task| task.resize.is_some();
            if let Some(size) = self.task(framework, id).filter(under_way).map(Task::size) {
                self.settle_size(framework, id, &size, None, out);
                let why = refusal.to_string();
                self.refuse_resize(now, framework, id, Reason::ContainerUpdateFailed, &why, out);
            }
        }
    }

    /// A task of this agent has this size after a resize, done or refused. By an older link, of a task that holds nothing
    /// there any more, or an answer to something else than what is under way: dropped, and so is a repeat. What an agent
    /// tells on its own it tells when it registers.
    pub(crate) fn on_task_resized(
        &mut self,
        agent: &AgentId,
        link: LinkId,
        resized: TaskResized,
        out: &mut Effects,
    ) {
        let TaskResized { framework, task: id, wanted, size } = resized;
        if !self.is_current(agent, link) {
            return;
        }
        let awaited = |task: &&Task| task.agent == *agent && task.resize.as_ref() == Some(&wanted);
        let Some(task) = self.task(&framework, &id).filter(awaited) else { return };
        let changed = task.size() != size;
        let verb = if changed { "has" } else { "keeps" };
        let summary = format!("task {id} {verb} {size} on agent {agent}");
        let entry = Entry::new(Kind::Task, summary).framework(&framework).task(&id).agent(agent);
        self.settle_size(&framework, &id, &size, None, out);
        self.task_mut(&framework, &id).resized |= changed;
        out.push(Effect::Record(entry));
    }

    /// What a returning agent tells about the size of a task that is in the table. A resize of which it knows nothing,
    /// and which it has not done, is one that it has yet to hear of.
    pub(crate) fn adopt_size(&mut self, report: &TaskReport, out: &mut Effects) {
        let (framework, id) = (&report.framework, &report.task.id);
        let Some(task) = self.task(framework, id).filter(|task| task.holds) else { return };
        let told = size_of(&report.task);
        let unheard = task.resize.clone().filter(|wanted| *wanted != told);
        let resize = report.resizing.clone().or(unheard);
        self.settle_size(framework, id, &told, resize, out);
        self.task_mut(framework, id).resized = report.resized;
    }

    /// The task has this size, as its agent says, and is being given that other one: the account follows.
    fn settle_size(
        &mut self,
        framework: &FrameworkId,
        id: &TaskId,
        size: &Size,
        resize: Option<Size>,
        out: &mut Effects,
    ) {
        let task = self.task_mut(framework, id);
        let before = task.held().into_owned();
        task.info.resources.clone_from(&size.resources);
        task.info.limits = limits(size);
        task.resize = resize;
        let (agent, role, after) = (task.agent.clone(), task.role.clone(), task.held().into_owned());
        let (more, less) = (after.saturating_sub(&before), before.saturating_sub(&after));
        if !more.is_empty() {
            // Agents are believed when they tell what runs, and what this one tells may be in offers.
            self.hold_allocated(&agent, framework, &role, &more);
            self.rescind_offers_of_agent(&agent, "a task has more than was known", out);
        }
        if !less.is_empty() {
            self.release_allocated(&agent, framework, &role, &less);
        }
    }
}

/// What the task gains, and what is left of the offers then; or why it may not have this size.
fn check_resize(
    place: &Place<'_>,
    left: &Resources,
    task: &Task,
    size: &Size,
) -> Result<(Resources, Resources), BadResize> {
    if task.state != TaskState::Running {
        return Err(BadResize::NotRunning(task.state));
    }
    if task.kill.is_some() {
        return Err(BadResize::BeingKilled);
    }
    if let Some(other) = &task.resize {
        return Err(BadResize::UnderWay(other.clone()));
    }
    if task.agent != *place.agent {
        return Err(BadResize::OtherAgent { here: task.agent.clone(), offered: place.agent.clone() });
    }
    if task.role != *place.role {
        return Err(BadResize::OtherRole { here: task.role.clone(), offered: place.role.clone() });
    }
    check_size(&size.resources, &limits(size)).map_err(BadResize::Size)?;
    let (ours, theirs) = (fixed(&task.info.resources), fixed(&size.resources));
    let lost = ours.saturating_sub(&theirs);
    if let Some(changed) = lost.iter().chain(theirs.saturating_sub(&ours).iter()).next() {
        return Err(BadResize::Fixed(changed.key.name.clone()));
    }
    let more = size.resources.saturating_sub(&task.info.resources);
    match left.checked_sub(&more) {
        Some(rest) => Ok((more, rest)),
        None => Err(BadResize::TooMuch { more, left: left.clone() }),
    }
}

/// What a process is told when it starts, or cannot be given and taken by amounts: ports, items, volumes, GPUs.
fn fixed(resources: &Resources) -> Resources {
    let is_amount = |value: &ResourceValue| match value {
        ResourceValue::Scalar(_) => true,
        ResourceValue::Ranges(_) | ResourceValue::Set(_) => false,
    };
    let flows = |key: &bourse_types::ResourceKey| !key.is_whole() && key.name != Name::gpus();
    resources.iter().filter(|it| !(flows(&it.key) && is_amount(&it.value))).cloned().collect()
}
