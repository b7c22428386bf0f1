//! Tasks that are one command.
//!
//! A task with an executor, an image, networks or a general check is carried by the master like any
//! other and would be understood by the wire, but this release's agents cannot run it: reading it refuses it
//! by the name of the field. What is only shown (`discovery`) and what only an executor would read (`data`)
//! stays in the message.

use std::collections::BTreeMap;

use bourse_proto::v1;
use bourse_types::{
    AgentId, BadRootfs, Controls, FrameworkId, Milli, Name, Namespaces, Network, Role, Rootfs, TaskId,
    TaskSpec,
};

use crate::at::{At, Key, Missing, Place, Under, needed};
use crate::command::{self, BadCommand};
use crate::health::{self, BadHealth};
use crate::ids::{self, BadWireId, WireId};
use crate::labels::{self, BadLabels};
use crate::linux_info::{self, BadLinuxInfo};
use crate::resources::{self, BadResource, Form};
use crate::time::{self, BadTime};
use crate::volumes::{self, BadVolumeForm};

/// A task that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadTask {
    /// A required field that was not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A bad id.
    #[error(transparent)]
    Id(#[from] BadWireId),
    /// Bad resources or limits.
    #[error(transparent)]
    Resource(#[from] BadResource),
    /// Nothing to run it on.
    #[error("the task uses no resources; give it at least cpus and mem")]
    NoResources,
    /// A limit of something that cannot be limited.
    #[error("{0:?} cannot have a limit; limits are for cpus and mem")]
    Limit(String),
    /// Nothing to run.
    #[error("the task has no command; set it")]
    NoCommand,
    /// Half a core for itself.
    #[error("the task wants {0} cpus for itself alone; take a whole number of them")]
    PartOfCore(Milli),
    /// Something that this release's agents do not do.
    #[error("this release runs plain command tasks; leave {0} out")]
    Unsupported(&'static str),
    /// A bad command.
    #[error(transparent)]
    Command(#[from] BadCommand),
    /// A bad root.
    #[error(transparent)]
    Rootfs(#[from] BadRootfs),
    /// A bad volume.
    #[error(transparent)]
    Volume(#[from] BadVolumeForm),
    /// Bad settings of Linux.
    #[error(transparent)]
    LinuxInfo(#[from] BadLinuxInfo),
    /// A bad health check or kill policy.
    #[error(transparent)]
    Health(#[from] BadHealth),
    /// A check that cannot reach the task.
    #[error(
        "the task has a network of its own, where checks by HTTP and TCP do not reach it; use a command check, which runs \
         inside"
    )]
    Unreachable,
    /// A span that is none.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// Bad labels.
    #[error(transparent)]
    Labels(#[from] BadLabels),
}

/// Whose a task is: what its message does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The framework that launches it.
    pub framework: FrameworkId,
    /// The role that its offer was allocated to.
    pub role: Role,
}

/// Reads a task of that owner. Refuses resources that are allocated to another role than the owner's.
///
/// Whether it fits the offer, whether its id is free, and whether a limit is at least the request is left to
/// the master.
pub fn read(form: &v1::TaskInfo, owner: Owner) -> Result<TaskSpec, At<BadTask>> {
    let name: &String = needed("name", &form.name)?;
    let id: TaskId = ids::needed::<_, BadTask>("task_id", &form.task_id)?;
    let agent: AgentId = ids::needed::<_, BadTask>("agent_id", &form.agent_id)?;
    refuse_unsupported(form)?;
    resources::check_allocation(&form.resources, &owner.role).under("resources")?;
    let resources = resources::read(&form.resources).under("resources")?;
    if resources.is_empty() {
        return Err(At::new("resources", BadTask::NoResources));
    }
    let exclusive_cpus = read_exclusive(form.container.as_ref(), resources.cpus())?;
    let command = form.command.as_ref().ok_or(BadTask::NoCommand).at("command")?;
    let max_completion_time = form.max_completion_time.as_ref();
    let container = form.container.as_ref();
    let (controls, namespaces) = read_linux_info(container)?;
    let health =
        form.health_check.as_ref().map(|check| health::read(check).under("health_check")).transpose()?;
    if namespaces.network == Network::Loopback
        && health.as_ref().is_some_and(|check| check.kind.asks_the_network())
    {
        return Err(At::new("health_check.type", BadTask::Unreachable));
    }
    Ok(TaskSpec {
        id,
        name: name.clone(),
        framework: owner.framework,
        agent,
        role: owner.role,
        resources,
        limits: read_limits(&form.limits)?,
        controls,
        exclusive_cpus,
        command: command::read(command).under("command")?,
        rootfs: read_rootfs(container)?,
        volumes: volumes::read(container.map_or(&[], |container| &container.volumes))
            .under("container.volumes")?,
        namespaces,
        health,
        kill_policy: health::read_kill_policy(form.kill_policy.as_ref()).under("kill_policy")?,
        max_completion_time: max_completion_time
            .map(|span| time::read_duration(span).under::<BadTask>("max_completion_time"))
            .transpose()?,
        labels: labels::read(form.labels.as_ref()).under("labels")?,
    })
}

fn read_exclusive(form: Option<&v1::ContainerInfo>, cpus: Milli) -> Result<bool, At<BadTask>> {
    let exclusive =
        form.and_then(|container| container.linux_info.as_ref()?.exclusive_cpus).unwrap_or_default();
    match exclusive && (cpus.is_zero() || !cpus.thousandths().is_multiple_of(1000)) {
        true => Err(At::new("container.linux_info.exclusive_cpus", BadTask::PartOfCore(cpus))),
        false => Ok(exclusive),
    }
}

fn read_rootfs(form: Option<&v1::ContainerInfo>) -> Result<Option<Rootfs>, At<BadTask>> {
    let rootfs = form.and_then(|container| container.mesos.as_ref()?.rootfs.as_deref());
    rootfs.map(Rootfs::new).transpose().at("container.mesos.rootfs")
}

fn read_linux_info(form: Option<&v1::ContainerInfo>) -> Result<(Controls, Namespaces), At<BadTask>> {
    linux_info::read(form.and_then(|container| container.linux_info.as_ref())).under("container.linux_info")
}

fn refuse_unsupported(form: &v1::TaskInfo) -> Result<(), At<BadTask>> {
    let refuse = |path: &'static str, is_set: bool| match is_set {
        true => Err(At::new(path, BadTask::Unsupported(path))),
        false => Ok(()),
    };
    refuse("executor", form.executor.is_some())?;
    refuse("check", form.check.is_some())?;
    let Some(container) = &form.container else { return Ok(()) };
    // A bare MESOS container asks for nothing that a task does not have anyway.
    let is_mesos = container.r#type == Some(v1::container_info::Type::Mesos as i32);
    refuse("container.type", !is_mesos)?;
    refuse("container.docker", container.docker.is_some())?;
    refuse("container.mesos.image", container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()))?;
    refuse("container.hostname", container.hostname.is_some())?;
    refuse("container.network_infos", !container.network_infos.is_empty())?;
    refuse("container.rlimit_info", container.rlimit_info.is_some())?;
    refuse("container.tty_info", container.tty_info.is_some())
}

type Limits = BTreeMap<Name, Option<Milli>>;

pub(crate) fn read_limits(forms: &BTreeMap<String, v1::value::Scalar>) -> Result<Limits, At<BadTask>> {
    let limit = |(key, scalar): (&String, &v1::value::Scalar)| {
        let name = match key.as_str() {
            "cpus" => Name::cpus(),
            "mem" => Name::mem(),
            other => return Err(At::new("", BadTask::Limit(other.chars().take(64).collect()))),
        };
        match *needed::<f64, BadTask>("value", &scalar.value)? {
            f64::INFINITY => Ok((name, None)),
            units => Ok((name, Some(resources::read_amount(key, units).at("value")?))),
        }
    };
    forms.iter().map(|entry| limit(entry).under(format_args!("limits[{}]", Key(entry.0)))).collect()
}

/// The task as a message; its resources are allocated to its role.
pub fn write(task: &TaskSpec, form: Form) -> v1::TaskInfo {
    let mut resources = resources::write(&task.resources, form);
    resources::allocate(&mut resources, &task.role);
    v1::TaskInfo {
        name: Some(task.name.clone()),
        task_id: Some(task.id.write()),
        agent_id: Some(task.agent.write()),
        resources,
        limits: write_limits(&task.limits),
        command: Some(command::write(&task.command)),
        container: write_container(task),
        health_check: task.health.as_ref().map(health::write),
        kill_policy: health::write_kill_policy(task.kill_policy),
        max_completion_time: task.max_completion_time.map(time::write_duration),
        labels: labels::write(&task.labels),
        ..Default::default()
    }
}

pub(crate) fn write_limits(limits: &Limits) -> BTreeMap<String, v1::value::Scalar> {
    let limit = |(name, limit): (&Name, &Option<Milli>)| {
        let units = limit.map_or(f64::INFINITY, Milli::as_f64);
        (name.as_str().to_owned(), v1::value::Scalar { value: Some(units) })
    };
    limits.iter().map(limit).collect()
}

/// Absent where a task asks for nothing that every task does not have anyway.
fn write_container(task: &TaskSpec) -> Option<v1::ContainerInfo> {
    let rootfs = task.rootfs.as_ref().map(|rootfs| rootfs.as_str().to_owned());
    let linux_info = linux_info::write(task);
    let asks = rootfs.is_some() || linux_info.is_some() || !task.volumes.is_empty();
    asks.then(|| v1::ContainerInfo {
        r#type: Some(v1::container_info::Type::Mesos as i32),
        volumes: task.volumes.iter().map(volumes::write).collect(),
        mesos: rootfs
            .map(|rootfs| v1::container_info::MesosInfo { rootfs: Some(rootfs), ..Default::default() }),
        linux_info,
        ..Default::default()
    })
}
