//! Every event as bytes, so that what the core was told can be kept and told again.

use std::time::Duration;

use bourse_master_core::{
    Accept, Call, Command, Event, Launch, LinkId, Registration, RequestId, Resize, StatusUpdate, StreamId,
    Subscription, TaskInfo, TaskReport, TaskResized,
};
use bourse_proto::disk as wire;
use bourse_proto::disk::{launch_record, master_event, operate, scheduler_call};
use bourse_types::{
    AgentId, Epoch, FrameworkId, Milli, Mono, Now, OfferId, Principal, Role, TaskId, TaskStatus, Wall,
};
use prost::Message;

use super::BadRecord;
use super::nouns::{self, nanos, text};

/// An encoded `InputRecord`.
pub fn encode(now: Now, event: &Event) -> Vec<u8> {
    record(now, event, 0).encode_to_vec()
}

/// The event, and when it was applied.
pub fn decode(bytes: &[u8]) -> Result<(Now, Event), BadRecord> {
    told(wire::InputRecord::decode(bytes)?)
}

/// An event as a record; `chain` is the hash of all effects up to and with its own, or 0.
pub fn record(now: Now, event: &Event, chain: u64) -> wire::InputRecord {
    wire::InputRecord {
        mono_nanos: now.mono.as_nanos(),
        wall_ms: now.wall.as_millis(),
        event: Some(wire::MasterEvent { event: Some(write(event)) }),
        chain,
    }
}

/// The event that a record says, and when it was applied.
pub fn told(record: wire::InputRecord) -> Result<(Now, Event), BadRecord> {
    let event = record.event.and_then(|event| event.event).ok_or(BadRecord::Missing("event"))?;
    let now = Now { mono: Mono(record.mono_nanos), wall: Wall(record.wall_ms) };
    Ok((now, read(event)?))
}

fn write(event: &Event) -> master_event::Event {
    use master_event::Event as Form;
    match event {
        Event::AgentRegisters { link, registration } => Form::AgentRegisters(wire::AgentRegisters {
            link: link.0,
            agent_id: text(&registration.id),
            info: Some(nouns::write_agent(&registration.info)),
            tasks: registration.tasks.iter().map(write_report).collect(),
            frameworks: registration.frameworks.iter().map(nouns::write_framework).collect(),
            epoch: registration.epoch.0,
            capabilities: bourse_wire::agent::write_capabilities(&registration.capabilities),
            principal: text(&registration.principal),
        }),
        Event::AgentsHeard { agents } => Form::AgentsHeard(wire::AgentsHeard {
            agent_ids: agents.iter().map(ToString::to_string).collect(),
        }),
        Event::AgentLinkClosed { agent, link } => {
            Form::AgentLinkClosed(wire::AgentLinkClosed { agent_id: agent.to_string(), link: link.0 })
        }
        Event::StatusUpdate { agent, link, update } => Form::StatusUpdate(wire::AgentStatusUpdate {
            agent_id: agent.to_string(),
            link: link.0,
            framework_id: update.framework.to_string(),
            status: Some(nouns::write_status(&update.status)),
            latest: Some(nouns::write_status(&update.latest)),
        }),
        Event::TaskResized { agent, link, resized } => Form::TaskResized(wire::AgentTaskResized {
            agent_id: agent.to_string(),
            link: link.0,
            framework_id: resized.framework.to_string(),
            task_id: resized.task.to_string(),
            size: Some(nouns::write_size(&resized.size)),
            wanted: Some(nouns::write_size(&resized.wanted)),
        }),
        Event::Subscribes { stream, subscription } => Form::Subscribes(wire::Subscribes {
            stream: stream.0,
            info: Some(nouns::write_framework(&subscription.info)),
            suppressed_roles: roles(&subscription.suppressed),
            principal: text(&subscription.principal),
        }),
        Event::StreamClosed { framework, stream } => {
            Form::StreamClosed(wire::StreamClosed { framework_id: framework.to_string(), stream: stream.0 })
        }
        Event::Call { framework, stream, call } => Form::Call(wire::SchedulerCall {
            framework_id: framework.to_string(),
            stream: stream.0,
            call: Some(write_call(call)),
        }),
        Event::Operate { request, principal, command } => Form::Operate(wire::Operate {
            request: request.0,
            principal: text(principal),
            command: Some(write_command(command)),
        }),
        Event::Tick => Form::Tick(wire::Tick {}),
    }
}

fn read(event: master_event::Event) -> Result<Event, BadRecord> {
    use master_event::Event as Form;
    Ok(match event {
        Form::AgentRegisters(record) => {
            let registration = Registration {
                id: optional(record.agent_id, agent_id)?,
                info: nouns::read_agent(record.info.ok_or(BadRecord::Missing("info"))?)?,
                tasks: all(record.tasks, read_report)?,
                frameworks: all(record.frameworks, nouns::read_framework)?,
                epoch: Epoch(record.epoch),
                capabilities: bourse_wire::agent::read_capabilities(&record.capabilities),
                principal: optional(record.principal, principal)?,
            };
            Event::AgentRegisters { link: LinkId(record.link), registration: Box::new(registration) }
        }
        Form::AgentsHeard(record) => Event::AgentsHeard { agents: all(record.agent_ids, agent_id)? },
        Form::AgentLinkClosed(record) => {
            Event::AgentLinkClosed { agent: agent_id(record.agent_id)?, link: LinkId(record.link) }
        }
        Form::StatusUpdate(record) => {
            let update = StatusUpdate {
                framework: framework_id(record.framework_id)?,
                status: status(record.status)?,
                latest: status(record.latest)?,
            };
            let (agent, link) = (agent_id(record.agent_id)?, LinkId(record.link));
            Event::StatusUpdate { agent, link, update: Box::new(update) }
        }
        Form::TaskResized(record) => {
            let resized = TaskResized {
                framework: framework_id(record.framework_id)?,
                task: task_id(record.task_id)?,
                size: nouns::read_size(record.size.ok_or(BadRecord::Missing("size"))?)?,
                wanted: nouns::read_size(record.wanted.ok_or(BadRecord::Missing("wanted"))?)?,
            };
            let (agent, link) = (agent_id(record.agent_id)?, LinkId(record.link));
            Event::TaskResized { agent, link, resized: Box::new(resized) }
        }
        Form::Subscribes(record) => {
            let subscription = Subscription {
                info: nouns::read_framework(record.info.ok_or(BadRecord::Missing("info"))?)?,
                suppressed: all(record.suppressed_roles, role)?,
                principal: optional(record.principal, principal)?,
            };
            Event::Subscribes { stream: StreamId(record.stream), subscription: Box::new(subscription) }
        }
        Form::StreamClosed(record) => Event::StreamClosed {
            framework: framework_id(record.framework_id)?,
            stream: StreamId(record.stream),
        },
        Form::Call(record) => Event::Call {
            framework: framework_id(record.framework_id)?,
            stream: StreamId(record.stream),
            call: read_call(record.call.ok_or(BadRecord::Missing("call"))?)?,
        },
        Form::Operate(record) => Event::Operate {
            request: RequestId(record.request),
            principal: optional(record.principal, principal)?,
            command: read_command(record.command.ok_or(BadRecord::Missing("command"))?)?,
        },
        Form::Tick(wire::Tick {}) => Event::Tick,
    })
}

fn write_call(call: &Call) -> scheduler_call::Call {
    use scheduler_call::Call as Form;
    match call {
        Call::Accept(accept) => Form::Accept(wire::AcceptRecord {
            offer_ids: accept.offers.iter().map(ToString::to_string).collect(),
            launches: accept.launches.iter().map(write_launch).collect(),
            resizes: accept.resizes.iter().map(write_resize).collect(),
            refuse_nanos: nanos(accept.refuse),
        }),
        Call::Decline { offers, refuse } => Form::Decline(wire::DeclineRecord {
            offer_ids: offers.iter().map(ToString::to_string).collect(),
            refuse_nanos: nanos(*refuse),
        }),
        Call::Revive { roles: which } => Form::Revive(wire::RolesRecord { roles: roles(which) }),
        Call::Suppress { roles: which } => Form::Suppress(wire::RolesRecord { roles: roles(which) }),
        Call::Kill { task, agent, policy } => Form::Kill(wire::KillRecord {
            task_id: task.to_string(),
            agent_id: text(agent),
            policy: policy.as_ref().map(nouns::write_kill_policy),
        }),
        Call::Acknowledge { agent, task, uuid } => Form::Acknowledge(wire::AcknowledgeRecord {
            agent_id: agent.to_string(),
            task_id: task.to_string(),
            uuid: uuid.to_vec().into(),
        }),
        Call::Reconcile { tasks } => Form::Reconcile(wire::ReconcileRecord {
            tasks: tasks
                .iter()
                .map(|(task, agent)| wire::ReconcileTaskRecord {
                    task_id: task.to_string(),
                    agent_id: text(agent),
                })
                .collect(),
        }),
        Call::UpdateFramework { info, suppressed } => Form::UpdateFramework(wire::UpdateFrameworkRecord {
            info: Some(nouns::write_framework(info)),
            suppressed_roles: roles(suppressed),
        }),
        Call::Teardown => Form::Teardown(wire::TeardownRecord {}),
    }
}

fn read_call(call: scheduler_call::Call) -> Result<Call, BadRecord> {
    use scheduler_call::Call as Form;
    Ok(match call {
        Form::Accept(record) => Call::Accept(Accept {
            offers: all(record.offer_ids, offer_id)?,
            launches: all(record.launches, read_launch)?,
            resizes: all(record.resizes, read_resize)?,
            refuse: Duration::from_nanos(record.refuse_nanos),
        }),
        Form::Decline(record) => Call::Decline {
            offers: all(record.offer_ids, offer_id)?,
            refuse: Duration::from_nanos(record.refuse_nanos),
        },
        Form::Revive(record) => Call::Revive { roles: all(record.roles, role)? },
        Form::Suppress(record) => Call::Suppress { roles: all(record.roles, role)? },
        Form::Kill(record) => Call::Kill {
            task: task_id(record.task_id)?,
            agent: optional(record.agent_id, agent_id)?,
            policy: record.policy.map(nouns::read_kill_policy).transpose()?,
        },
        Form::Acknowledge(record) => Call::Acknowledge {
            agent: agent_id(record.agent_id)?,
            task: task_id(record.task_id)?,
            uuid: record.uuid.as_ref().try_into().map_err(BadRecord::bad("uuid"))?,
        },
        Form::Reconcile(record) => Call::Reconcile {
            tasks: all(record.tasks, |task| {
                Ok((task_id(task.task_id)?, optional(task.agent_id, agent_id)?))
            })?,
        },
        Form::UpdateFramework(record) => Call::UpdateFramework {
            info: Box::new(nouns::read_framework(record.info.ok_or(BadRecord::Missing("info"))?)?),
            suppressed: all(record.suppressed_roles, role)?,
        },
        Form::Teardown(wire::TeardownRecord {}) => Call::Teardown,
    })
}

fn write_command(command: &Command) -> operate::Command {
    use operate::Command as Form;
    match command {
        Command::Kill { framework, task, policy } => Form::Kill(wire::OperateKill {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            policy: policy.as_ref().map(nouns::write_kill_policy),
        }),
        Command::Teardown { framework } => {
            Form::Teardown(wire::OperateTeardown { framework_id: framework.to_string() })
        }
        Command::Drain { agent, deadline, mark_gone } => Form::Drain(wire::OperateDrain {
            agent_id: agent.to_string(),
            deadline_nanos: nanos(*deadline),
            mark_gone: *mark_gone,
        }),
        Command::Reactivate { agent } => {
            Form::Reactivate(wire::OperateReactivate { agent_id: agent.to_string() })
        }
        Command::MarkGone { agent } => Form::MarkGone(wire::OperateMarkGone { agent_id: agent.to_string() }),
        Command::SetWeight { role, weight } => Form::SetWeight(wire::OperateSetWeight {
            role: role.to_string(),
            thousandths: weight.thousandths(),
        }),
    }
}

fn read_command(command: operate::Command) -> Result<Command, BadRecord> {
    use operate::Command as Form;
    Ok(match command {
        Form::Kill(record) => Command::Kill {
            framework: framework_id(record.framework_id)?,
            task: task_id(record.task_id)?,
            policy: record.policy.map(nouns::read_kill_policy).transpose()?,
        },
        Form::Teardown(record) => Command::Teardown { framework: framework_id(record.framework_id)? },
        Form::Drain(record) => Command::Drain {
            agent: agent_id(record.agent_id)?,
            deadline: Duration::from_nanos(record.deadline_nanos),
            mark_gone: record.mark_gone,
        },
        Form::Reactivate(record) => Command::Reactivate { agent: agent_id(record.agent_id)? },
        Form::MarkGone(record) => Command::MarkGone { agent: agent_id(record.agent_id)? },
        Form::SetWeight(record) => {
            Command::SetWeight { role: role(record.role)?, weight: Milli::new(record.thousandths) }
        }
    })
}

fn write_launch(launch: &Launch) -> wire::LaunchRecord {
    let launch = match launch {
        Launch::Task(task) => launch_record::Launch::Task(write_task(task)),
        Launch::Invalid { task, agent, why } => launch_record::Launch::Invalid(wire::InvalidTaskRecord {
            task_id: task.to_string(),
            agent_id: text(agent),
            why: why.clone(),
        }),
    };
    wire::LaunchRecord { launch: Some(launch) }
}

fn read_launch(record: wire::LaunchRecord) -> Result<Launch, BadRecord> {
    Ok(match record.launch.ok_or(BadRecord::Missing("launch"))? {
        launch_record::Launch::Task(task) => Launch::Task(Box::new(read_task(task)?)),
        launch_record::Launch::Invalid(invalid) => Launch::Invalid {
            task: task_id(invalid.task_id)?,
            agent: optional(invalid.agent_id, agent_id)?,
            why: invalid.why,
        },
    })
}

fn write_resize(resize: &Resize) -> wire::ResizeRecord {
    wire::ResizeRecord {
        task_id: resize.task.to_string(),
        size: resize.wanted.as_ref().ok().map(nouns::write_size),
        why: resize.wanted.as_ref().err().cloned().unwrap_or_default(),
    }
}

fn read_resize(record: wire::ResizeRecord) -> Result<Resize, BadRecord> {
    let wanted = match record.size {
        Some(size) => Ok(nouns::read_size(size)?),
        None => Err(record.why),
    };
    Ok(Resize { task: task_id(record.task_id)?, wanted })
}

fn write_report(report: &TaskReport) -> wire::TaskReportRecord {
    wire::TaskReportRecord {
        framework_id: report.framework.to_string(),
        task: Some(write_task(&report.task)),
        role: report.role.to_string(),
        latest: Some(nouns::write_status(&report.latest)),
        resized: report.resized,
        resizing: report.resizing.as_ref().map(nouns::write_size),
    }
}

fn read_report(record: wire::TaskReportRecord) -> Result<TaskReport, BadRecord> {
    Ok(TaskReport {
        framework: framework_id(record.framework_id)?,
        task: read_task(record.task.ok_or(BadRecord::Missing("task"))?)?,
        role: role(record.role)?,
        latest: status(record.latest)?,
        resized: record.resized,
        resizing: record.resizing.map(nouns::read_size).transpose()?,
    })
}

pub(super) fn write_task(task: &TaskInfo) -> wire::TaskRecord {
    wire::TaskRecord {
        id: task.id.to_string(),
        name: task.name.clone(),
        agent_id: task.agent.to_string(),
        resources: nouns::write_resources(&task.resources),
        limits: task
            .limits
            .iter()
            .map(|(name, limit)| wire::LimitRecord {
                name: name.clone(),
                thousandths: limit.map(Milli::thousandths),
            })
            .collect(),
        kill_policy: Some(nouns::write_kill_policy(&task.kill_policy)),
        labels: Some(nouns::write_labels(&task.labels)),
        command: task.command.clone(),
        message: task.message.clone(),
        needs: bourse_wire::agent::write_capabilities(&task.needs),
    }
}

pub(super) fn read_task(record: wire::TaskRecord) -> Result<TaskInfo, BadRecord> {
    let limits = record.limits.into_iter().map(|limit| (limit.name, limit.thousandths.map(Milli::new)));
    Ok(TaskInfo {
        id: task_id(record.id)?,
        name: record.name,
        agent: agent_id(record.agent_id)?,
        resources: nouns::read_resources(record.resources)?,
        limits: limits.collect(),
        kill_policy: record.kill_policy.map(nouns::read_kill_policy).transpose()?.unwrap_or_default(),
        labels: record.labels.map(nouns::read_labels).transpose()?.unwrap_or_default(),
        needs: bourse_wire::agent::read_capabilities(&record.needs),
        command: record.command,
        message: record.message,
    })
}

pub(super) fn all<T, U>(
    records: Vec<T>,
    read: impl FnMut(T) -> Result<U, BadRecord>,
) -> Result<Vec<U>, BadRecord> {
    records.into_iter().map(read).collect()
}

pub(super) fn optional<T>(
    text: String,
    read: impl Fn(String) -> Result<T, BadRecord>,
) -> Result<Option<T>, BadRecord> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

fn roles(roles: &[Role]) -> Vec<String> {
    roles.iter().map(ToString::to_string).collect()
}

fn status(status: Option<bourse_proto::v1::TaskStatus>) -> Result<TaskStatus, BadRecord> {
    nouns::read_status(status.ok_or(BadRecord::Missing("a status"))?)
}

pub(super) fn agent_id(text: String) -> Result<AgentId, BadRecord> {
    AgentId::new(text).map_err(BadRecord::bad("agent_id"))
}

pub(super) fn framework_id(text: String) -> Result<FrameworkId, BadRecord> {
    FrameworkId::new(text).map_err(BadRecord::bad("framework_id"))
}

pub(super) fn task_id(text: String) -> Result<TaskId, BadRecord> {
    TaskId::new(text).map_err(BadRecord::bad("task_id"))
}

pub(super) fn offer_id(text: String) -> Result<OfferId, BadRecord> {
    OfferId::new(text).map_err(BadRecord::bad("offer_id"))
}

pub(super) fn role(text: String) -> Result<Role, BadRecord> {
    Role::new(text).map_err(BadRecord::bad("role"))
}

pub(super) fn principal(text: String) -> Result<Principal, BadRecord> {
    Principal::new(text).map_err(BadRecord::bad("principal"))
}
