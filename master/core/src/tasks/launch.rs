//! Whether a task may be launched from what was offered, and its first moment.

use std::collections::BTreeMap;

use bourse_types::{
    AgentId, FrameworkId, Milli, Name, Now, Reason, ResourceValue, Resources, Role, Source, TaskState,
    TaskStatus,
};

use crate::agents::Incapable;
use crate::effect::{Effect, Effects, ToAgent};
use crate::event::{Launch, TaskInfo};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::tasks::Task;

/// Why a task is not launched: told as TASK_ERROR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTask {
    /// The door could not make sense of it.
    #[error("{0}")]
    Form(String),
    /// A task id stands for one task.
    #[error("task id {0} is in use by a task that is alive or unreachable; give each task an id of its own")]
    DuplicateId(bourse_types::TaskId),
    /// It named another agent than the offers'.
    #[error(
        "the task names agent {named} and the offers are of agent {offered}; name the agent of the offers"
    )]
    OtherAgent {
        /// What it named.
        named: AgentId,
        /// Whose the offers are.
        offered: AgentId,
    },
    /// Its agent would run it without something that it asks for.
    #[error("{0}; launch the task on another agent, without that, or update the agent")]
    Incapable(Incapable),
    /// It holds nothing.
    #[error("the task uses no resources; give it some cpus or mem of the offer")]
    NoResources,
    /// It wants more than is left.
    #[error(
        "the task uses more than is offered: it wants {wanted} and {} is left; take less or accept more offers",
        if left.is_empty() { "nothing".to_owned() } else { left.to_string() }
    )]
    TooMuch {
        /// What it wants.
        wanted: Resources,
        /// What is left of the offers.
        left: Resources,
    },
    /// One name, both kinds.
    #[error("the task mixes revocable and other {0}; take one kind of each resource")]
    RevocableMix(Name),
    /// Half a GPU.
    #[error("the task wants {0} gpus; take a whole number")]
    PartOfGpu(Milli),
    /// Only what the kernel can limit.
    #[error("the task limits {0}; limits are for cpus and mem")]
    LimitOf(String),
    /// A limit below the request.
    #[error("the task's limit of {name} is {limit}, below the {request} that it requests; raise the limit")]
    LimitBelow {
        /// Of which resource.
        name: String,
        /// What it may use at most.
        limit: Milli,
        /// What it is given.
        request: Milli,
    },
}

/// Where tasks of one accept are launched.
pub(crate) struct Place<'a> {
    pub framework: &'a FrameworkId,
    pub agent: &'a AgentId,
    pub role: &'a Role,
}

impl Master {
    /// Launches from what is left of the accepted offers, or tells why not. Answers what is left then.
    pub(crate) fn launch(
        &mut self,
        now: Now,
        place: &Place<'_>,
        left: Resources,
        launch: Launch,
        out: &mut Effects,
    ) -> Resources {
        let checked = match launch {
            Launch::Invalid { task, agent: _, why } => Err((task, BadTask::Form(why))),
            Launch::Task(info) => match self.check_task(place, &left, &info) {
                Ok(rest) => Ok((info, rest)),
                Err(refusal) => Err((info.id, refusal)),
            },
        };
        match checked {
            Ok((info, rest)) => {
                self.start_task(now, place, info, out);
                rest
            }
            Err((task, refusal)) => {
                let status = TaskStatus {
                    agent_id: Some(place.agent.clone()),
                    reason: Some(Reason::TaskInvalid),
                    message: Some(refusal.to_string()),
                    ..TaskStatus::new(task, TaskState::Error, Source::Master, now.wall)
                };
                self.refuse_launch(place.framework, status, out);
                left
            }
        }
    }

    /// A task that never was: its framework and the history hear why.
    pub(crate) fn refuse_launch(&mut self, framework: &FrameworkId, status: TaskStatus, out: &mut Effects) {
        let why = status.message.as_deref().unwrap_or_default();
        let summary = format!("task {} was not launched: {why}", status.task_id);
        let mut entry = Entry::new(Kind::Task, summary).framework(framework).task(&status.task_id);
        entry.agent.clone_from(&status.agent_id);
        entry.reason = status.reason.map(|reason| reason.to_string());
        self.tell_status(framework, status, out);
        out.push(Effect::Record(entry));
    }

    /// What is left of the offers after this task, or why it may not have its share.
    fn check_task(&self, place: &Place<'_>, left: &Resources, task: &TaskInfo) -> Result<Resources, BadTask> {
        let record = self.frameworks.get(place.framework).expect("the caller accepted its call");
        if record.knows(&task.id) {
            return Err(BadTask::DuplicateId(task.id.clone()));
        }
        if task.agent != *place.agent {
            return Err(BadTask::OtherAgent { named: task.agent.clone(), offered: place.agent.clone() });
        }
        let agent = self.agents.get(place.agent).expect("its offers were outstanding");
        agent.can(&task.needs).map_err(BadTask::Incapable)?;
        check_size(&task.resources, &task.limits)?;
        left.checked_sub(&task.resources)
            .ok_or_else(|| BadTask::TooMuch { wanted: task.resources.clone(), left: left.clone() })
    }

    fn start_task(&mut self, now: Now, place: &Place<'_>, info: Box<TaskInfo>, out: &mut Effects) {
        let &Place { framework, agent, role } = place;
        let id = info.id.clone();
        self.hold_allocated(agent, framework, role, &info.resources);
        self.agent_mut(agent).tasks.insert((framework.clone(), id.clone()));
        let record = self.framework_mut(framework);
        let framework_info = record.info.clone();
        let task = Task {
            info: (*info).clone(),
            framework: framework.clone(),
            role: role.clone(),
            agent: agent.clone(),
            state: TaskState::Staging,
            statuses: Vec::new(),
            launched: now.wall,
            changed: now.wall,
            holds: true,
            resized: false,
            resize: None,
            pending: None,
            acknowledged: None,
            kill: None,
        };
        record.tasks.insert(id.clone(), task);
        let summary = format!("task {id} was launched on agent {agent} with {}", info.resources);
        self.command(agent, ToAgent::Run { framework: framework_info, role: role.clone(), task: info }, out);
        let entry = Entry::new(Kind::Task, summary).framework(framework).task(&id).agent(agent).role(role);
        out.push(Effect::Record(entry));
    }
}

/// What can be said of the size of a task without knowing the offers.
pub(super) fn check_size(
    resources: &Resources,
    limits: &BTreeMap<String, Option<Milli>>,
) -> Result<(), BadTask> {
    if resources.is_empty() {
        return Err(BadTask::NoResources);
    }
    let plain = resources.non_revocable();
    if let Some(both) = resources.revocable().iter().find(|r| plain.iter().any(|p| p.key.name == r.key.name))
    {
        return Err(BadTask::RevocableMix(both.key.name.clone()));
    }
    let parts = |resource: &&bourse_types::Resource| match &resource.value {
        ResourceValue::Scalar(amount) => {
            resource.key.name == Name::gpus() && amount.thousandths() % 1000 != 0
        }
        ResourceValue::Ranges(_) | ResourceValue::Set(_) => false,
    };
    if resources.iter().any(|resource| parts(&resource)) {
        return Err(BadTask::PartOfGpu(resources.gpus()));
    }
    for (name, limit) in limits {
        if name != "cpus" && name != "mem" {
            return Err(BadTask::LimitOf(name.clone()));
        }
        let request = resources.scalar(name);
        if let Some(limit) = limit.filter(|limit| *limit < request) {
            return Err(BadTask::LimitBelow { name: name.clone(), limit, request });
        }
    }
    Ok(())
}
