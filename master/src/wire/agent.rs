//! An agent's registration and updates; what the master says to agents.

use std::collections::BTreeMap;

use bourse_master_core::{Registration, StatusUpdate, TaskInfo, TaskReport, TaskResized, ToAgent};
use bourse_proto::{agent_link as wire, v1};
use bourse_types::{AgentId, BadId, Epoch, FrameworkId, Labels, Milli, Name, Role, Size, TaskId, TaskStatus};
use bourse_wire::task::Owner;
use bourse_wire::{Form, command, framework, health, ids, labels, resources, size, status, task};
use prost::Message;

use super::scheduler::in_words;

/// What an agent said cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct BadMessage {
    /// Of the field.
    pub path: String,
    /// What is wrong with it, and what to do.
    pub why: String,
}

impl BadMessage {
    fn new(path: impl Into<String>, why: impl ToString) -> BadMessage {
        BadMessage { path: path.into(), why: why.to_string() }
    }

    fn missing(path: impl Into<String>) -> BadMessage {
        BadMessage::new(path, "the field is required and was not sent; set it")
    }
}

/// Reads a Register. Who sent it is not said in it: the door adds the principal.
pub fn read_register(form: wire::Register) -> Result<Registration, BadMessage> {
    let info = form.info.as_ref().ok_or_else(|| BadMessage::missing("register.info"))?;
    let address = bourse_wire::agent::read_address(&form.address)
        .map_err(|why| BadMessage::new("register.address", why))?;
    let info = bourse_wire::agent::read(info, address, &form.version)
        .map_err(|why| BadMessage::new("register.info", why))?;
    let id = form.agent_id.as_deref().filter(|id| !id.is_empty());
    let tasks = form.tasks.into_iter().enumerate();
    let frameworks = form.frameworks.iter().enumerate();
    Ok(Registration {
        id: id.map(AgentId::new).transpose().map_err(|why| BadMessage::new("register.agent_id", why))?,
        info,
        tasks: tasks
            .map(|(at, task)| read_report(&format!("register.tasks[{at}]"), task))
            .collect::<Result<_, _>>()?,
        frameworks: frameworks
            .map(|(at, info)| {
                framework::read(info)
                    .map_err(|why| BadMessage::new(format!("register.frameworks[{at}]"), why))
            })
            .collect::<Result<_, _>>()?,
        epoch: Epoch(form.epoch),
        capabilities: bourse_wire::agent::read_capabilities(&form.capabilities),
        principal: None,
    })
}

/// Reads a status update. Without `latest`, the status is the newest.
pub fn read_update(form: &wire::StatusUpdate) -> Result<StatusUpdate, BadMessage> {
    let status = form.status.as_ref().ok_or_else(|| BadMessage::missing("update.status"))?;
    let status = read_status("update.status", status)?;
    let latest = form.latest.as_ref().map(|latest| read_status("update.latest", latest)).transpose()?;
    Ok(StatusUpdate {
        framework: framework_id("update.framework_id", &form.framework_id)?,
        latest: latest.unwrap_or_else(|| status.clone()),
        status,
    })
}

/// Reads the answer to a resize.
pub fn read_resized(form: &wire::TaskResized) -> Result<TaskResized, BadMessage> {
    let size = form.size.as_ref().ok_or_else(|| BadMessage::missing("task_resized.size"))?;
    let wanted = form.wanted.as_ref().ok_or_else(|| BadMessage::missing("task_resized.wanted"))?;
    Ok(TaskResized {
        framework: framework_id("task_resized.framework_id", &form.framework_id)?,
        task: TaskId::new(&form.task_id).map_err(|why| BadMessage::new("task_resized.task_id", why))?,
        size: read_size("task_resized.size", size)?,
        wanted: read_size("task_resized.wanted", wanted)?,
    })
}

fn read_report(path: &str, form: wire::TaskReport) -> Result<TaskReport, BadMessage> {
    let bad = |name: &str, why: &dyn ToString| BadMessage::new(format!("{path}.{name}"), why.to_string());
    let latest = form.latest.as_ref().ok_or_else(|| BadMessage::missing(format!("{path}.latest")))?;
    let framework = framework_id(&format!("{path}.framework_id"), &form.framework_id)?;
    let role = Role::new(&form.role).map_err(|why| bad("role", &why))?;
    let resources = resources::read(&form.resources).map_err(|why| bad("resources", &why))?;
    let message = v1::TaskInfo::decode(form.task_info.clone())
        .map_err(|why| bad("task_info", &format!("not a TaskInfo: {why}")))?;
    let id = ids::needed::<_, ids::BadWireId>("task_id", &message.task_id)
        .map_err(|why| bad("task_info", &why))?;
    let agent = ids::needed::<_, ids::BadWireId>("agent_id", &message.agent_id)
        .map_err(|why| bad("task_info", &why))?;
    // It was launched, perhaps by a build that knows more than this one: what is no longer understood is not a reason
    // to lose an agent with all its tasks.
    let owner = Owner { framework: framework.clone(), role: role.clone() };
    let spec = task::read(&message, owner).ok();
    let size = form.size.as_ref().map(|form| read_size(&format!("{path}.size"), form)).transpose()?;
    let resizing = form.resizing.as_ref();
    let resizing = resizing.map(|form| read_size(&format!("{path}.resizing"), form)).transpose()?;
    let task = TaskInfo {
        id,
        name: message.name.clone().unwrap_or_default(),
        agent,
        resources,
        limits: match &size {
            Some(size) => limits(&size.limits),
            None => spec.as_ref().map(|spec| limits(&spec.limits)).unwrap_or_default(),
        },
        kill_policy: health::read_kill_policy(message.kill_policy.as_ref()).unwrap_or_default(),
        labels: labels::read(message.labels.as_ref()).unwrap_or_else(|_| Labels::new()),
        needs: spec.as_ref().map(|spec| spec.needs()).unwrap_or_default(),
        command: message
            .command
            .as_ref()
            .and_then(|form| command::read(form).ok())
            .map(|command| in_words(&command))
            .unwrap_or_default(),
        message: form.task_info,
    };
    Ok(TaskReport {
        framework,
        task,
        role,
        latest: read_status(&format!("{path}.latest"), latest)?,
        resized: size.is_some(),
        resizing,
    })
}

pub(super) fn limits(limits: &BTreeMap<Name, Option<Milli>>) -> BTreeMap<String, Option<Milli>> {
    limits.iter().map(|(name, limit)| (name.as_str().to_owned(), *limit)).collect()
}

fn read_size(path: &str, form: &v1::TaskSize) -> Result<Size, BadMessage> {
    size::read(form).map_err(|why| BadMessage::new(path, why))
}

fn read_status(path: &str, form: &v1::TaskStatus) -> Result<TaskStatus, BadMessage> {
    status::read(form).map_err(|why| BadMessage::new(path, why))
}

fn framework_id(path: &str, text: &str) -> Result<FrameworkId, BadMessage> {
    FrameworkId::new(text).map_err(|why: BadId| BadMessage::new(path, why))
}

/// What the master says, with its epoch.
pub fn write(epoch: Epoch, message: ToAgent) -> wire::ToAgent {
    use wire::to_agent::Message as Say;
    let message = match message {
        ToAgent::Registered { agent, master, heartbeat, known, reconnect } => {
            Say::Registered(wire::Registered {
                agent_id: agent.to_string(),
                master_id: master.to_string(),
                heartbeat_interval: heartbeat.as_secs_f64(),
                known_tasks: known
                    .into_iter()
                    .map(|(framework, task)| wire::KnownTask {
                        framework_id: framework.to_string(),
                        task_id: task.to_string(),
                    })
                    .collect(),
                reconnect_seconds: Some(reconnect.as_secs_f64()),
            })
        }
        ToAgent::Run { framework, role, task } => {
            let mut amounts = resources::write(&task.resources, Form::Refined);
            resources::allocate(&mut amounts, &role);
            Say::RunTask(wire::RunTask {
                framework: Some(framework::write(&framework)),
                task_info: task.message,
                role: role.to_string(),
                resources: amounts,
            })
        }
        ToAgent::Kill { framework, task, policy, reason } => Say::KillTask(wire::KillTask {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            kill_policy: policy.and_then(health::write_kill_policy),
            reason: reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        }),
        ToAgent::Resize { framework, task, size: wanted } => Say::ResizeTask(wire::ResizeTask {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            size: Some(size::write(&wanted, Form::Refined)),
        }),
        ToAgent::Acknowledge { framework, task, uuid } => Say::AcknowledgeUpdate(wire::AcknowledgeUpdate {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            uuid: uuid.to_vec().into(),
        }),
        ToAgent::ShutdownFramework { framework } => {
            Say::ShutdownFramework(wire::ShutdownFramework { framework_id: framework.to_string() })
        }
    };
    wire::ToAgent { epoch: epoch.0, message: Some(message) }
}
