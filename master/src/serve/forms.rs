//! Pictures as the messages that people's tools read: CLI, status page, anything else on the operator's door.

use std::collections::BTreeMap;

use bourse_master_core::agents::{AgentState, Drain};
use bourse_master_core::view::{FrameworkPicture, RolePicture, Severity};
use bourse_master_core::{Agent, Framework, Offer, Task, View};
use bourse_proto::agent_link::TaskUsage;
use bourse_proto::operator as wire;
use bourse_types::{AttributeValue, Mono, Now, TaskState, Wall};
use bourse_wire::Form;

use super::{amounts, hostnames};
use crate::history::Stamped;
use crate::usage::{Total, Usages};
use crate::wire::scheduler::MasterIdentity;

/// One agent.
pub(super) fn agent(view: &View, agent: &Agent, usages: &Usages) -> wire::Agent {
    let used = answers(agent).then(|| usages.of_agent(&agent.id));
    let value = |value: &AttributeValue| value.to_string();
    wire::Agent {
        id: agent.id.to_string(),
        hostname: agent.info.hostname.clone(),
        address: agent.info.address.to_string(),
        version: agent.info.version.clone(),
        state: agent.word().to_owned(),
        resources: Some(wire::ResourceReport {
            total: Some(amounts::of(&agent.info.total)),
            reserved: Some(amounts::of(&agent.reserved())),
            offered: Some(amounts::of(&agent.offered)),
            allocated: Some(amounts::of(&agent.allocated)),
            used: used.map(amounts::used),
            available: Some(amounts::of(&agent.available())),
        }),
        total: bourse_wire::resources::write(&agent.info.total, Form::Refined),
        attributes: agent.info.attributes.iter().map(|(name, text)| (name.to_owned(), value(text))).collect(),
        registered_ms: agent.admitted.as_millis(),
        heard_ms: view.heard(&agent.id).map_or(0, |heard| heard.wall.as_millis()),
        tasks: count(agent.tasks.len()),
        offers: count(agent.offers.len()),
        drain_deadline_ms: agent.drain.as_ref().map(|drain: &Drain| drain.until().as_millis()),
        pids_used: used.map(|used| used.pids),
        swap_used_mib: used.map(|used| amounts::mib(used.swap_bytes)),
    }
}

/// Whether what an agent measured last still says what its tasks use: of one that is unreachable nobody knows.
fn answers(agent: &Agent) -> bool {
    !matches!(agent.state, AgentState::Unreachable { .. })
}

/// What all tasks use, of agents that answer.
pub(super) fn used(view: &View, usages: &Usages) -> Total {
    usages.total(|id| view.agent(id).is_some_and(answers))
}

/// One that was marked gone: little is known of it any more.
pub(super) fn gone_agent(id: &bourse_types::AgentId, at: Wall) -> wire::Agent {
    wire::Agent {
        id: id.to_string(),
        state: "gone".to_owned(),
        heard_ms: at.as_millis(),
        ..wire::Agent::default()
    }
}

/// A framework that was not torn down.
pub(super) fn framework(picture: &FrameworkPicture<'_>, now: Now) -> wire::Framework {
    let framework = picture.framework;
    wire::Framework {
        offered: Some(amounts::of(&picture.offered)),
        allocated: Some(amounts::of(&picture.allocated)),
        dominant_share: picture.share,
        dominant_resource: picture.dominant.as_ref().map(ToString::to_string).unwrap_or_default(),
        failover_deadline_ms: framework
            .state
            .deadline()
            .map(|deadline| on_the_wall(deadline, now).as_millis()),
        ..known_framework(framework, framework_word(framework))
    }
}

/// A framework that was torn down.
pub(super) fn completed_framework(framework: &Framework) -> wire::Framework {
    known_framework(framework, "completed")
}

/// "inactive" is one that is connected and wants nothing: it suppressed every role that it has. Mesos' word, and a
/// promise of the API; people are told that it is idle.
fn framework_word(framework: &Framework) -> &'static str {
    match framework.state.stream() {
        Some(_) if framework.wanted_roles().next().is_none() => "inactive",
        _ => framework.state.as_str(),
    }
}

fn known_framework(framework: &Framework, state: &str) -> wire::Framework {
    let info = &framework.info;
    wire::Framework {
        id: framework.id.to_string(),
        name: info.name.clone(),
        user: info.user.clone(),
        principal: info.principal.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: state.to_owned(),
        roles: info.roles.iter().map(ToString::to_string).collect(),
        suppressed_roles: framework.suppressed.iter().map(ToString::to_string).collect(),
        capabilities: info.capabilities.names().map(str::to_owned).collect(),
        failover_timeout_seconds: info.failover_timeout.as_secs_f64(),
        tasks: count(framework.tasks.len()),
        offers: count(framework.offers.len()),
        registered_ms: framework.registered.as_millis(),
        hostname: info.hostname.clone().unwrap_or_default(),
        webui_url: info.webui_url.clone().unwrap_or_default(),
        checkpoint: info.checkpoint,
        unserved: unserved(framework),
        ..wire::Framework::default()
    }
}

/// Two reasons may share a word.
pub(super) fn unserved(framework: &Framework) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (reason, passes) in &framework.unserved {
        *counts.entry(reason.as_str().to_owned()).or_default() += passes;
    }
    counts
}

/// A node of the tree of roles.
pub(super) fn role(role: &RolePicture) -> wire::Role {
    wire::Role {
        name: role.role.to_string(),
        weight: role.weight.as_f64(),
        frameworks: role.frameworks.iter().map(ToString::to_string).collect(),
        reserved: Some(amounts::of(&role.reserved)),
        offered: Some(amounts::of(&role.offered)),
        allocated: Some(amounts::of(&role.allocated)),
        dominant_share: role.share,
    }
}

/// An outstanding offer.
pub(super) fn offer(offer: &Offer, view: &View) -> wire::Offer {
    let expires = (offer.expires != Mono::MAX).then(|| on_the_wall(offer.expires, view.now()).as_millis());
    wire::Offer {
        id: offer.id.to_string(),
        framework_id: offer.framework.to_string(),
        framework_name: framework_name(&offer.framework, view),
        agent_id: offer.agent.to_string(),
        hostname: view.hostname(&offer.agent).unwrap_or_default().to_owned(),
        role: offer.role.to_string(),
        resources: Some(amounts::of(&offer.resources)),
        offered_ms: offer.made.as_millis(),
        expires_ms: expires,
    }
}

/// What a task uses, as its agent measured it.
fn task_use(usage: &TaskUsage) -> wire::TaskUse {
    use amounts::mib;
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    wire::TaskUse {
        cpus: usage.cpus,
        mem_mib: mib(usage.memory_bytes),
        mem_peak_mib: mib(usage.memory_peak_bytes),
        throttled_seconds: seconds(usage.throttled_nanos),
        pids: usage.pids,
        disk_mib: usage.disk_used_bytes.map(mib),
        disk_limit_mib: usage.disk_limit_bytes.map(mib),
        cpu_seconds: seconds(usage.cpu_nanos),
        cpu_user_seconds: usage.cpu_user_nanos.map(seconds),
        cpu_system_seconds: usage.cpu_system_nanos.map(seconds),
        cpu_periods: usage.cpu_periods,
        cpu_periods_throttled: usage.cpu_periods_throttled,
        mem_limit_mib: usage.memory_limit_bytes.map(mib),
        mem_anonymous_mib: usage.memory_anonymous_bytes.map(mib),
        mem_file_mib: usage.memory_file_bytes.map(mib),
        mem_shared_mib: usage.memory_shared_bytes.map(mib),
        mem_kernel_mib: usage.memory_kernel_bytes.map(mib),
        swap_mib: usage.swap_bytes.map(mib),
        oom_kills: usage.oom_kills,
        io_read_mib: usage.io_read_bytes.map(mib),
        io_written_mib: usage.io_written_bytes.map(mib),
        pids_limit: usage.pids_limit,
        pids_refused: usage.pids_refused,
        cpu_pressure_percent: usage.cpu_pressure.map(percent),
        mem_pressure_percent: usage.memory_pressure.map(percent),
        io_pressure_percent: usage.io_pressure.map(percent),
    }
}

/// A task, alive or ended.
pub(super) fn task(task: &Task, view: &View, usages: &Usages) -> wire::Task {
    let latest = task.latest();
    let container = task.statuses.iter().rev().find_map(|status| status.container.as_ref());
    let used = usages.of(&task.agent, &task.framework, &task.info.id).map(|usage| task_use(&usage));
    wire::Task {
        id: task.info.id.to_string(),
        name: task.info.name.clone(),
        framework_id: task.framework.to_string(),
        framework_name: framework_name(&task.framework, view),
        agent_id: task.agent.to_string(),
        hostname: view.hostname(&task.agent).unwrap_or_default().to_owned(),
        state: task.state.as_str().to_owned(),
        reason: latest
            .and_then(|status| status.reason)
            .map(|reason| reason.as_str().to_owned())
            .unwrap_or_default(),
        message: latest.and_then(|status| status.message.clone()).unwrap_or_default(),
        role: task.role.to_string(),
        allocated: Some(amounts::of(&task.held())),
        used: used.filter(|_| !task.state.is_terminal() && task.state != TaskState::Unreachable),
        healthy: latest.and_then(|status| status.healthy),
        exit: latest.and_then(|status| status.exit).map(bourse_wire::status::write_exit),
        launched_ms: task.launched.as_millis(),
        changed_ms: task.changed.as_millis(),
        labels: task
            .info
            .labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.unwrap_or_default().to_owned()))
            .collect(),
        statuses: task
            .statuses
            .iter()
            .map(|status| bourse_wire::status::write(status, Form::Refined))
            .collect(),
        command: task.info.command.clone(),
        container_id: container.map(|container| container.container_id.to_string()).unwrap_or_default(),
        pid: container.and_then(|container| container.pid).unwrap_or_default(),
    }
}

/// An entry of the history.
pub(super) fn history(stamped: &Stamped, view: &View) -> wire::HistoryEvent {
    let entry = &stamped.entry;
    wire::HistoryEvent {
        sequence: stamped.sequence,
        at_ms: stamped.at.as_millis(),
        kind: entry.kind.as_str().to_owned(),
        summary: hostnames::told(&entry.summary, view),
        agent_id: entry.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        framework_id: entry.framework.as_ref().map(ToString::to_string).unwrap_or_default(),
        task_id: entry.task.as_ref().map(ToString::to_string).unwrap_or_default(),
        role: entry.role.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: entry.reason.clone().unwrap_or_default(),
        principal: entry.principal.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The whole in one message.
pub(super) fn cluster(view: &View, usages: &Usages, master: &MasterIdentity) -> wire::Cluster {
    let totals = view.totals();
    wire::Cluster {
        master_id: master.id.to_string(),
        version: master.version.to_owned(),
        epoch: view.epoch().0,
        started_ms: view.started().as_millis(),
        now_ms: view.now().wall.as_millis(),
        verdict: hostnames::told(&view.verdict(), view),
        problems: view.problems().into_iter().map(|it| problem(it, view)).collect(),
        resources: Some(wire::ResourceReport {
            total: Some(amounts::of(&totals.total)),
            reserved: Some(amounts::of(&totals.reserved)),
            offered: Some(amounts::of(&totals.offered)),
            allocated: Some(amounts::of(&totals.allocated)),
            used: Some(amounts::used(used(view, usages))),
            available: Some(amounts::of(&totals.available)),
        }),
        agents_active: count(totals.agents_active),
        agents_total: count(totals.agents),
        frameworks_active: count(totals.frameworks_active),
        frameworks_total: count(totals.frameworks),
        offers_outstanding: count(totals.offers),
        tasks: totals
            .tasks
            .iter()
            .filter(|(state, _)| !state.is_terminal())
            .map(|(state, tasks)| (state.as_str().to_owned(), count(*tasks)))
            .collect(),
    }
}

fn problem(problem: bourse_master_core::view::Problem, view: &View) -> wire::Problem {
    let severity = match problem.severity {
        Severity::Critical => wire::Severity::Critical,
        Severity::Warning => wire::Severity::Warning,
    };
    wire::Problem {
        severity: severity as i32,
        summary: hostnames::told(&problem.summary, view),
        advice: hostnames::told(&problem.advice, view),
        kind: problem.kind.to_owned(),
        id: problem.id,
    }
}

/// What a framework is called; empty when it is not known any more.
pub(super) fn framework_name(id: &bourse_types::FrameworkId, view: &View) -> String {
    let completed = || view.completed_frameworks().find(|framework| framework.id == *id);
    let framework = view.framework(id).or_else(completed);
    framework.map(|framework| framework.info.name.clone()).unwrap_or_default()
}

/// When a deadline is due on people's clocks, if nobody sets them.
fn on_the_wall(deadline: Mono, now: Now) -> Wall {
    now.wall + deadline.since(now.mono)
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
