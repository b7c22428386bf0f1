//! What became of a task: states, reasons, sources, statuses.
//!
//! A status that was read has lost what only its framework understands of an executor's check
//! (`check_status`) and of a container's networks. Where a status is only passed on, carry the message.

use bourse_proto::v1;
use bourse_types::{ContainerStatus, Exit, Reason, Source, TaskState, TaskStatus};
use bytes::Bytes;

use crate::at::{At, Missing, Place, Under, needed};
use crate::ids::{self, BadWireId, WireId};
use crate::labels::{self, BadLabels};
use crate::resources::{self, BadResource, Form};
use crate::size;
use crate::task::BadTask;
use crate::time::{self, BadTime};

/// A status that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadStatus {
    /// A required field that was not sent. Beside what Mesos requires, those are `source` and `timestamp`.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A bad id.
    #[error(transparent)]
    Id(#[from] BadWireId),
    /// A number that names nothing.
    #[error("{number} is not a {kind} that this release knows; send one of bourse.v1.{kind}")]
    Unknown {
        /// What was sent.
        number: i32,
        /// The enum.
        kind: &'static str,
    },
    /// A uuid of another length.
    #[error("the uuid has {0} bytes; send 16 random ones")]
    Uuid(usize),
    /// A bad time.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// Bad labels.
    #[error(transparent)]
    Labels(#[from] BadLabels),
    /// A bad limitation.
    #[error(transparent)]
    Resource(#[from] BadResource),
    /// A bad size.
    #[error(transparent)]
    Size(#[from] BadTask),
    /// An end that says nothing, or two things.
    #[error("a process ends by a code or by a signal; send exactly one of the two")]
    Exit,
}

/// Reads a state.
pub fn read_state(number: i32) -> Result<TaskState, BadStatus> {
    let kind = "TaskState";
    let form = v1::TaskState::try_from(number).ok();
    form.and_then(|form| form.as_str_name().parse().ok()).ok_or(BadStatus::Unknown { number, kind })
}

/// The number of a state.
pub fn write_state(state: TaskState) -> v1::TaskState {
    v1::TaskState::from_str_name(state.as_str()).expect("a test compares the names of both sets")
}

/// Reads a reason.
pub fn read_reason(number: i32) -> Result<Reason, BadStatus> {
    let kind = "TaskStatus.Reason";
    let form = v1::task_status::Reason::try_from(number).ok();
    form.and_then(|form| form.as_str_name().parse().ok()).ok_or(BadStatus::Unknown { number, kind })
}

/// The number of a reason.
pub fn write_reason(reason: Reason) -> v1::task_status::Reason {
    v1::task_status::Reason::from_str_name(reason.as_str()).expect("a test compares the names of both sets")
}

/// Reads a source.
pub fn read_source(number: i32) -> Result<Source, BadStatus> {
    let kind = "TaskStatus.Source";
    let form = v1::task_status::Source::try_from(number).ok();
    form.and_then(|form| form.as_str_name().parse().ok()).ok_or(BadStatus::Unknown { number, kind })
}

/// The number of a source.
pub fn write_source(source: Source) -> v1::task_status::Source {
    v1::task_status::Source::from_str_name(source.as_str()).expect("a test compares the names of both sets")
}

/// Reads a uuid.
pub fn read_uuid(bytes: &[u8]) -> Result<[u8; 16], BadStatus> {
    bytes.try_into().map_err(|_| BadStatus::Uuid(bytes.len()))
}

/// Reads how a process ended.
pub fn read_exit(form: &v1::Exit) -> Result<Exit, BadStatus> {
    match (form.code, form.signal) {
        (Some(code), None) => Ok(Exit::Code(code)),
        (None, Some(signal)) => Ok(Exit::Signal(signal)),
        (None, None) | (Some(_), Some(_)) => Err(BadStatus::Exit),
    }
}

/// The end of a process as a message.
pub fn write_exit(exit: Exit) -> v1::Exit {
    match exit {
        Exit::Code(code) => v1::Exit { code: Some(code), signal: None },
        Exit::Signal(signal) => v1::Exit { code: None, signal: Some(signal) },
    }
}

/// Reads a status. A reason that this release does not know is refused, as it could not be passed on.
pub fn read(form: &v1::TaskStatus) -> Result<TaskStatus, At<BadStatus>> {
    let state: i32 = *needed("state", &form.state)?;
    let source: i32 = *needed("source", &form.source)?;
    let timestamp: f64 = *needed("timestamp", &form.timestamp)?;
    let unreachable = form.unreachable_time.as_ref();
    Ok(TaskStatus {
        task_id: ids::needed("task_id", &form.task_id)?,
        agent_id: ids::given("agent_id", &form.agent_id)?,
        executor_id: ids::given("executor_id", &form.executor_id)?,
        state: read_state(state).at("state")?,
        source: read_source(source).at("source")?,
        reason: form.reason.map(read_reason).transpose().at("reason")?,
        message: form.message.clone(),
        timestamp: time::read_timestamp(timestamp).at("timestamp")?,
        uuid: form.uuid.as_ref().map(|uuid| read_uuid(uuid)).transpose().at("uuid")?,
        healthy: form.healthy,
        labels: labels::read(form.labels.as_ref()).under("labels")?,
        data: form.data.clone().unwrap_or_default(),
        unreachable_since: unreachable
            .map(|time| time::read_time(time).under("unreachable_time"))
            .transpose()?,
        limitation: read_limitation(form.limitation.as_ref())?,
        container: form
            .container_status
            .as_ref()
            .map(read_container)
            .transpose()
            .under("container_status")?
            .flatten(),
        exit: form.exit.as_ref().map(read_exit).transpose().at("exit")?,
        size: form.size.as_ref().map(|form| size::read(form).under("size")).transpose()?.map(Box::new),
    })
}

fn read_limitation(
    form: Option<&v1::TaskResourceLimitation>,
) -> Result<bourse_types::Resources, At<BadStatus>> {
    let forms = form.map(|form| form.resources.as_slice()).unwrap_or_default();
    resources::read(forms).under("limitation.resources")
}

/// A container without an id says nothing that we keep.
fn read_container(form: &v1::ContainerStatus) -> Result<Option<ContainerStatus>, At<BadStatus>> {
    let id = ids::given("container_id", &form.container_id)?;
    Ok(id.map(|container_id| ContainerStatus { container_id, pid: form.executor_pid }))
}

/// The status as a message; the resources of a limitation in that form.
pub fn write(status: &TaskStatus, form: Form) -> v1::TaskStatus {
    let limitation = resources::write(&status.limitation, form);
    v1::TaskStatus {
        task_id: Some(status.task_id.write()),
        state: Some(write_state(status.state) as i32),
        message: status.message.clone(),
        source: Some(write_source(status.source) as i32),
        reason: status.reason.map(|reason| write_reason(reason) as i32),
        data: (!status.data.is_empty()).then(|| status.data.clone()),
        agent_id: status.agent_id.as_ref().map(WireId::write),
        executor_id: status.executor_id.as_ref().map(WireId::write),
        timestamp: Some(status.timestamp.as_secs_f64()),
        uuid: status.uuid.map(|uuid| Bytes::copy_from_slice(&uuid)),
        healthy: status.healthy,
        check_status: None,
        labels: labels::write(&status.labels),
        container_status: status.container.as_ref().map(write_container),
        unreachable_time: status.unreachable_since.map(time::write_time),
        limitation: (!limitation.is_empty()).then_some(v1::TaskResourceLimitation { resources: limitation }),
        exit: status.exit.map(write_exit),
        size: status.size.as_ref().map(|size| size::write(size, form)),
    }
}

fn write_container(container: &ContainerStatus) -> v1::ContainerStatus {
    v1::ContainerStatus {
        container_id: Some(container.container_id.write()),
        executor_pid: container.pid,
        ..Default::default()
    }
}
