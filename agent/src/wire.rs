//! The link's messages as the core's events and effects, both ways. Nothing else of the agent sees them.

use std::time::Duration;

use bourse_agent_core::{
    Assignment, FromAgent, FromMaster, Registration, StatusUpdate, TaskKey, TaskReport, TaskResized, Work,
};
use bourse_proto::agent_link as link;
use bourse_proto::v1::{self, agent_info::capability::Type as Capability};
use bourse_types::{
    AgentCapability, AgentId, BadId, Epoch, FrameworkId, FrameworkInfo, HealthKind, MasterId, Role, Scheme,
    TaskId,
};
use bourse_wire::ids::WireId;
use bourse_wire::status::BadStatus;
use bourse_wire::task::{BadTask, Owner};
use bourse_wire::{At, Form, framework, health, resources, size, status, task};
use bytes::Bytes;
use prost::Message;

/// A page of a registration takes so many bytes of tasks and frameworks, and more only when a single one has more: far
/// from what one message may have, and few round trips even for thousands of tasks.
const PAGE_BYTES: usize = 1 << 20;

/// A message from the master that makes no sense. The text is for the log: a master does not send such.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// Without content.
    #[error("a message from the master is empty")]
    Empty,
    /// A required part is missing.
    #[error("a message from the master has no {0}")]
    Missing(&'static str),
    /// A bad id.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A bad role.
    #[error(transparent)]
    Role(#[from] bourse_types::BadRole),
    /// A bad uuid.
    #[error(transparent)]
    Uuid(#[from] BadStatus),
    /// A bad framework.
    #[error(transparent)]
    Framework(#[from] At<framework::BadFramework>),
    /// Bad resources.
    #[error(transparent)]
    Resources(#[from] At<resources::BadResource>),
    /// A bad kill policy.
    #[error(transparent)]
    KillPolicy(#[from] At<health::BadHealth>),
    /// A bad size.
    #[error(transparent)]
    Size(#[from] At<BadTask>),
    /// A heartbeat interval that is none.
    #[error("the heartbeat interval is {0} s; it must be a positive number")]
    Heartbeat(f64),
    /// A time to come back within that is none.
    #[error("the time to come back within is {0} s; it must be a positive number")]
    Reconnect(f64),
    /// The task's message cannot be read, not even its id.
    #[error("the message of a task cannot be read")]
    Task(#[from] prost::DecodeError),
}

/// What the master said, and the epoch that it said it in.
pub fn read(message: link::ToAgent) -> Result<(Epoch, FromMaster), BadMessage> {
    use link::to_agent::Message;
    let read = match message.message.ok_or(BadMessage::Empty)? {
        Message::Registered(registered) => {
            let seconds = registered.heartbeat_interval;
            FromMaster::Registered {
                agent: AgentId::new(&registered.agent_id)?,
                master: MasterId::new(&registered.master_id)?,
                heartbeat: Duration::try_from_secs_f64(seconds)
                    .map_err(|_| BadMessage::Heartbeat(seconds))?,
                known: registered
                    .known_tasks
                    .iter()
                    .map(|known| key(&known.framework_id, &known.task_id))
                    .collect::<Result<_, _>>()?,
                reconnect: registered
                    .reconnect_seconds
                    .map(|seconds| {
                        Duration::try_from_secs_f64(seconds).map_err(|_| BadMessage::Reconnect(seconds))
                    })
                    .transpose()?,
            }
        }
        Message::Refused(refused) => FromMaster::Refused {
            reason: refused.reason,
            message: refused.message,
            shut_down: refused.shut_down,
        },
        Message::RunTask(run) => {
            let form = run.framework.ok_or(BadMessage::Missing("framework"))?;
            let framework = framework::read(&form)?;
            let id = framework.id.clone().ok_or(BadMessage::Missing("framework.id"))?;
            let role = run.role.parse()?;
            let assignment = assignment(id, role, &run.resources, run.task_info)?;
            FromMaster::Run { framework: Box::new(framework), assignment: Box::new(assignment) }
        }
        Message::KillTask(kill) => FromMaster::Kill {
            task: key(&kill.framework_id, &kill.task_id)?,
            policy: kill
                .kill_policy
                .as_ref()
                .map(|policy| health::read_kill_policy(Some(policy)))
                .transpose()?,
            // A reason of a later release is as good as none.
            reason: kill.reason.parse().ok(),
        },
        Message::ResizeTask(resize) => FromMaster::Resize {
            task: key(&resize.framework_id, &resize.task_id)?,
            size: Box::new(size::read(&resize.size.ok_or(BadMessage::Missing("size"))?)?),
        },
        Message::AcknowledgeUpdate(acknowledged) => FromMaster::Acknowledge {
            task: key(&acknowledged.framework_id, &acknowledged.task_id)?,
            uuid: status::read_uuid(&acknowledged.uuid)?,
        },
        Message::ShutdownFramework(shutdown) => {
            FromMaster::ShutdownFramework { framework: FrameworkId::new(&shutdown.framework_id)? }
        }
        Message::HeartbeatAck(link::HeartbeatAck {}) => FromMaster::HeartbeatAck,
    };
    Ok((Epoch(message.epoch), read))
}

/// A task as master and checkpoint carry it. What this agent cannot run is an assignment all the same, one to refuse:
/// only a message without a task id is an error.
pub fn assignment(
    framework: FrameworkId,
    role: Role,
    held: &[v1::Resource],
    message: Bytes,
) -> Result<Assignment, BadMessage> {
    let form = v1::TaskInfo::decode(message.clone())?;
    let id =
        form.task_id.as_ref().and_then(|id| id.value.as_deref()).ok_or(BadMessage::Missing("task_id"))?;
    let key = TaskKey { framework: framework.clone(), task: TaskId::new(id)? };
    let resources = resources::read(held)?;
    let work = match task::read(&form, Owner { framework, role: role.clone() }) {
        Ok(spec) => match refusal(&spec) {
            None => Work::Run(Box::new(bourse_types::TaskSpec { resources: resources.clone(), ..spec })),
            Some(why) => Work::Refuse(why.to_owned()),
        },
        Err(bad) => Work::Refuse(bad.to_string()),
    };
    Ok(Assignment { key, role, resources, message, work })
}

/// What the words of a task allow and this agent does not do.
fn refusal(spec: &bourse_types::TaskSpec) -> Option<&'static str> {
    match spec.health.as_ref().map(|check| &check.kind) {
        Some(HealthKind::Http { scheme: Scheme::Https, .. }) => Some(
            "health_check.http.scheme: this release checks plain http; use http or a command such as curl",
        ),
        Some(HealthKind::Http { .. } | HealthKind::Tcp { .. } | HealthKind::Command(_)) | None => None,
    }
}

fn key(framework: &str, task: &str) -> Result<TaskKey, BadId> {
    Ok(TaskKey { framework: FrameworkId::new(framework)?, task: TaskId::new(task)? })
}

/// What the agent says, in the messages that it takes: a registration may be more than one.
pub fn write(message: FromAgent) -> Vec<link::FromAgent> {
    use link::from_agent::Message;
    let messages = match message {
        FromAgent::Register(registration) => write_registration(*registration),
        FromAgent::Heartbeat => vec![Message::Heartbeat(link::Heartbeat {})],
        FromAgent::Update(update) => vec![Message::Update(write_update(*update))],
        FromAgent::Resized(resized) => vec![Message::TaskResized(write_resized(*resized))],
    };
    messages.into_iter().map(|message| link::FromAgent { message: Some(message) }).collect()
}

/// A measurement.
pub fn write_usage(usage: link::Usage) -> link::FromAgent {
    link::FromAgent { message: Some(link::from_agent::Message::Usage(usage)) }
}

/// Who the agent is, and with it as many frameworks and tasks as a page takes; the rest on pages of their own.
fn write_registration(registration: Registration) -> Vec<link::from_agent::Message> {
    use link::from_agent::Message;
    let Registration { id, info, boot, tasks, frameworks, epoch } = registration;
    let everybodys = [
        Capability::MultiRole,
        Capability::HierarchicalRole,
        Capability::ReservationRefinement,
        Capability::AgentDraining,
    ];
    let everybodys = everybodys.map(|kind| v1::agent_info::Capability { r#type: Some(kind as i32) });
    let ours = bourse_wire::agent::write_capabilities(&AgentCapability::all());
    let frameworks = frameworks.iter().map(|info| Part::Framework(Box::new(framework::write(info))));
    let mut pages =
        pages(frameworks.chain(tasks.into_iter().map(|task| Part::Task(Box::new(write_report(task))))));
    let first = pages.remove(0);
    let register = link::Register {
        info: Some(bourse_wire::agent::write(id.as_ref(), &info)),
        agent_id: id.map(|id| id.to_string()),
        address: info.address.to_string(),
        version: info.version.clone(),
        capabilities: everybodys.into_iter().chain(ours).collect(),
        boot_id: boot,
        tasks: first.tasks,
        frameworks: first.frameworks,
        epoch: epoch.0,
        more: first.more,
    };
    [Message::Register(register)].into_iter().chain(pages.into_iter().map(Message::RegisterPage)).collect()
}

/// What can stand on any page of a registration.
enum Part {
    Framework(Box<v1::FrameworkInfo>),
    Task(Box<link::TaskReport>),
}

/// At least one page, each with at least one part where there are any, and all but the last saying that more follow.
fn pages(parts: impl Iterator<Item = Part>) -> Vec<link::RegisterPage> {
    let mut pages = vec![link::RegisterPage::default()];
    let mut bytes = 0;
    for part in parts {
        let size = match &part {
            Part::Framework(info) => info.encoded_len(),
            Part::Task(report) => report.encoded_len(),
        };
        if bytes > 0 && bytes + size > PAGE_BYTES {
            pages.last_mut().expect("it begins with one").more = true;
            pages.push(link::RegisterPage::default());
            bytes = 0;
        }
        bytes += size;
        let page = pages.last_mut().expect("it begins with one");
        match part {
            Part::Framework(info) => page.frameworks.push(*info),
            Part::Task(report) => page.tasks.push(*report),
        }
    }
    pages
}

fn write_report(report: TaskReport) -> link::TaskReport {
    let mut held = resources::write(&report.resources, Form::Refined);
    resources::allocate(&mut held, &report.role);
    link::TaskReport {
        framework_id: report.framework.to_string(),
        task_info: report.message,
        role: report.role.to_string(),
        resources: held,
        latest: Some(status::write(&report.latest, Form::Refined)),
        size: report.size.as_ref().map(|size| size::write(size, Form::Refined)),
        resizing: report.resizing.as_ref().map(|size| size::write(size, Form::Refined)),
    }
}

fn write_resized(resized: TaskResized) -> link::TaskResized {
    link::TaskResized {
        framework_id: resized.framework.to_string(),
        task_id: resized.task.to_string(),
        size: Some(size::write(&resized.size, Form::Refined)),
        wanted: Some(size::write(&resized.wanted, Form::Refined)),
    }
}

fn write_update(update: StatusUpdate) -> link::StatusUpdate {
    link::StatusUpdate {
        framework_id: update.framework.to_string(),
        status: Some(status::write(&update.status, Form::Refined)),
        latest: Some(status::write(&update.latest, Form::Refined)),
    }
}

/// The framework's own message, for the checkpoint.
pub fn write_framework(id: &FrameworkId, info: &FrameworkInfo) -> v1::FrameworkInfo {
    v1::FrameworkInfo { id: Some(id.write()), ..framework::write(info) }
}

#[cfg(test)]
mod damaged;
