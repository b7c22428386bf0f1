//! A whole master as records, part by part: what a recording begins with.

use std::sync::Arc;
use std::time::Duration;

use bourse_master_core::agents::DrainPhase;
use bourse_master_core::registry::Absence;
use bourse_master_core::state::{AgentPart, Due, FrameworkPart, Head, Part, Place};
use bourse_master_core::tasks::KillOrder;
use bourse_master_core::{
    AgentState, Config, Drain, FrameworkState, LinkId, Offer, StreamId, Task, Unserved,
};
use bourse_proto::disk as wire;
use bourse_proto::disk::part_record::Part as Form;
use bourse_proto::disk::{agent_part, deadline_part, drain_part, framework_part, task_part};
use bourse_types::{Epoch, MasterId, Milli, Mono, Name, Now, Principal, Quantities, Wall};

use super::event::{self, agent_id, all, framework_id, offer_id, optional, principal, role};
use super::nouns::{self, nanos, text};
use super::{BadRecord, BadRecord::Missing};

/// A part as a record.
pub fn write(part: &Part) -> wire::PartRecord {
    let form = match part {
        Part::Head(head) => Form::Head(write_head(head)),
        Part::Agent(agent) => Form::Agent(write_agent(agent)),
        Part::Gone { id, at } => Form::Gone(wire::GonePart { id: id.to_string(), at_ms: at.as_millis() }),
        Part::Removed { id, at } => {
            Form::Removed(wire::RemovedPart { id: id.to_string(), at_ms: at.as_millis() })
        }
        Part::Weight { role, weight } => {
            Form::Weight(wire::WeightPart { role: role.to_string(), thousandths: weight.thousandths() })
        }
        Part::Framework(framework) => Form::Framework(write_framework(framework)),
        Part::Task { place, task } => Form::Task(write_task(*place, task)),
        Part::Filter { framework, role, agent, resources, until } => Form::Filter(wire::FilterPart {
            framework_id: framework.as_ref().map(ToString::to_string).unwrap_or_default(),
            role: role.to_string(),
            agent_id: agent.to_string(),
            resources: nouns::write_resources(resources),
            until_nanos: until.as_nanos(),
        }),
        Part::Offer(offer) => Form::Offer(write_offer(offer)),
        Part::Deadline { at, due } => {
            Form::Deadline(wire::DeadlinePart { at_nanos: at.as_nanos(), due: Some(write_due(due)) })
        }
        Part::Mark { round, lot, agent } => {
            Form::Mark(wire::MarkPart { round: *round, lot: *lot, agent_id: agent.to_string() })
        }
    };
    wire::PartRecord { part: Some(form) }
}

/// The part that a record says.
pub fn read(record: wire::PartRecord) -> Result<Part, BadRecord> {
    Ok(match record.part.ok_or(Missing("part"))? {
        Form::Head(record) => Part::Head(Box::new(read_head(record)?)),
        Form::Agent(record) => Part::Agent(Box::new(read_agent(record)?)),
        Form::Gone(record) => Part::Gone { id: agent_id(record.id)?, at: Wall(record.at_ms) },
        Form::Removed(record) => Part::Removed { id: framework_id(record.id)?, at: Wall(record.at_ms) },
        Form::Weight(record) => {
            Part::Weight { role: role(record.role)?, weight: Milli::new(record.thousandths) }
        }
        Form::Framework(record) => Part::Framework(Box::new(read_framework(record)?)),
        Form::Task(record) => {
            let (place, task) = read_task(record)?;
            Part::Task { place, task: Arc::new(task) }
        }
        Form::Filter(record) => Part::Filter {
            framework: (!record.framework_id.is_empty())
                .then(|| framework_id(record.framework_id))
                .transpose()?,
            role: role(record.role)?,
            agent: agent_id(record.agent_id)?,
            resources: nouns::read_resources(record.resources)?,
            until: Mono(record.until_nanos),
        },
        Form::Offer(record) => Part::Offer(read_offer(record)?),
        Form::Deadline(record) => {
            Part::Deadline { at: Mono(record.at_nanos), due: read_due(record.due.ok_or(Missing("due"))?)? }
        }
        Form::Mark(record) => {
            Part::Mark { round: record.round, lot: record.lot, agent: agent_id(record.agent_id)? }
        }
    })
}

fn write_now(now: Now) -> wire::NowRecord {
    wire::NowRecord { mono_nanos: now.mono.as_nanos(), wall_ms: now.wall.as_millis() }
}

fn read_now(record: wire::NowRecord) -> Now {
    Now { mono: Mono(record.mono_nanos), wall: Wall(record.wall_ms) }
}

fn write_head(head: &Head) -> wire::HeadPart {
    wire::HeadPart {
        config: Some(write_config(&head.config)),
        epoch: head.epoch.0,
        master_id: head.id.to_string(),
        started: Some(write_now(head.started)),
        random: head.random,
        agents_named: head.agents_named,
        frameworks_named: head.frameworks_named,
        offers_named: head.offers_named,
        round: head.round,
        awake_nanos: head.awake.as_nanos(),
        pass_allowed_nanos: head.pass_allowed.as_nanos(),
        emptied: head.emptied.iter().map(ToString::to_string).collect(),
        deposed_by: None,
        deposed: head.deposed_by.iter().map(write_deposed).collect(),
    }
}

fn write_deposed((owner, epoch): (&Option<Principal>, &Epoch)) -> wire::DeposedPart {
    wire::DeposedPart { principal: text(owner), epoch: epoch.0 }
}

fn read_deposed(record: wire::DeposedPart) -> Result<(Option<Principal>, Epoch), BadRecord> {
    Ok((optional(record.principal, principal)?, Epoch(record.epoch)))
}

fn read_head(record: wire::HeadPart) -> Result<Head, BadRecord> {
    let unknown = record.deposed_by.map(|epoch| (None, Epoch(epoch)));
    let deposed = all(record.deposed, read_deposed)?;
    Ok(Head {
        config: read_config(record.config.ok_or(Missing("config"))?)?,
        epoch: Epoch(record.epoch),
        id: MasterId::new(record.master_id).map_err(BadRecord::bad("master_id"))?,
        started: read_now(record.started.ok_or(Missing("started"))?),
        random: record.random,
        agents_named: record.agents_named,
        frameworks_named: record.frameworks_named,
        offers_named: record.offers_named,
        round: record.round,
        awake: Mono(record.awake_nanos),
        pass_allowed: Mono(record.pass_allowed_nanos),
        emptied: all(record.emptied, agent_id)?.into_iter().collect(),
        deposed_by: unknown.into_iter().chain(deposed).collect(),
    })
}

fn write_config(config: &Config) -> wire::CoreConfigRecord {
    wire::CoreConfigRecord {
        heartbeat_interval_nanos: nanos(config.heartbeat_interval),
        heartbeats_per_second_max: config.heartbeats_per_second_max,
        agent_timeout_nanos: nanos(config.agent_timeout),
        reregister_timeout_nanos: nanos(config.reregister_timeout),
        return_grace_nanos: nanos(config.return_grace),
        offer_timeout_nanos: config.offer_timeout.map(nanos),
        allocation_pause_nanos: nanos(config.allocation_pause),
        allocation_slice: config.allocation_slice as u64,
        filter_min_nanos: nanos(config.filter_min),
        filter_max_nanos: nanos(config.filter_max),
        offers_per_agent_max: config.offers_per_agent_max as u64,
        min_allocatable: config.min_allocatable.iter().map(write_quantities).collect(),
        filter_gpu_resources: config.filter_gpu_resources,
        completed_tasks_max: config.completed_tasks_max as u64,
        unreachable_tasks_max: config.unreachable_tasks_max as u64,
        completed_frameworks_max: config.completed_frameworks_max as u64,
        statuses_max: config.statuses_max as u64,
        forget_after_nanos: nanos(config.forget_after),
        forgotten_beyond: config.forgotten_beyond as u64,
        forget_interval_nanos: nanos(config.forget_interval),
        reconnects_per_second_max: config.reconnects_per_second_max,
    }
}

fn read_config(record: wire::CoreConfigRecord) -> Result<Config, BadRecord> {
    Ok(Config {
        heartbeat_interval: Duration::from_nanos(record.heartbeat_interval_nanos),
        heartbeats_per_second_max: record.heartbeats_per_second_max,
        agent_timeout: Duration::from_nanos(record.agent_timeout_nanos),
        reregister_timeout: Duration::from_nanos(record.reregister_timeout_nanos),
        return_grace: Duration::from_nanos(record.return_grace_nanos),
        offer_timeout: record.offer_timeout_nanos.map(Duration::from_nanos),
        allocation_pause: Duration::from_nanos(record.allocation_pause_nanos),
        allocation_slice: count(record.allocation_slice)?,
        filter_min: Duration::from_nanos(record.filter_min_nanos),
        filter_max: Duration::from_nanos(record.filter_max_nanos),
        offers_per_agent_max: count(record.offers_per_agent_max)?,
        min_allocatable: all(record.min_allocatable, read_quantities)?,
        filter_gpu_resources: record.filter_gpu_resources,
        completed_tasks_max: count(record.completed_tasks_max)?,
        unreachable_tasks_max: count(record.unreachable_tasks_max)?,
        completed_frameworks_max: count(record.completed_frameworks_max)?,
        statuses_max: count(record.statuses_max)?,
        forget_after: Duration::from_nanos(record.forget_after_nanos),
        forgotten_beyond: count(record.forgotten_beyond)?,
        forget_interval: Duration::from_nanos(record.forget_interval_nanos),
        reconnects_per_second_max: record.reconnects_per_second_max,
    })
}

fn count(number: u64) -> Result<usize, BadRecord> {
    usize::try_from(number).map_err(BadRecord::bad("a count"))
}

fn write_quantities(quantities: &Quantities) -> wire::QuantitiesRecord {
    let amounts = quantities.iter().map(|(name, amount)| (name.to_string(), amount.thousandths()));
    wire::QuantitiesRecord { thousandths: amounts.collect() }
}

fn read_quantities(record: wire::QuantitiesRecord) -> Result<Quantities, BadRecord> {
    let amount = |(name, amount): (String, u64)| -> Result<(Name, Milli), BadRecord> {
        Ok((Name::new(name).map_err(BadRecord::bad("a resource's name"))?, Milli::new(amount)))
    };
    record.thousandths.into_iter().map(amount).collect()
}

fn write_agent(agent: &AgentPart) -> wire::AgentPart {
    let state = match agent.state {
        AgentState::Recovered { deadline } => agent_part::State::Recovered(deadline.as_nanos()),
        AgentState::Active { link } => agent_part::State::Active(link.0),
        AgentState::Disconnected { since } => agent_part::State::Disconnected(since.as_millis()),
        AgentState::Unreachable { since } => agent_part::State::Unreachable(since.as_millis()),
    };
    wire::AgentPart {
        id: agent.id.to_string(),
        info: Some(nouns::write_agent(&agent.info)),
        state: Some(state),
        admitted_ms: agent.admitted.as_millis(),
        heard: agent.heard.map(write_now),
        drain: agent.drain.as_ref().map(write_drain),
        capabilities: bourse_wire::agent::write_capabilities(&agent.capabilities),
        principal: text(&agent.principal),
    }
}

fn read_agent(record: wire::AgentPart) -> Result<AgentPart, BadRecord> {
    let state = match record.state.ok_or(Missing("the agent's state"))? {
        agent_part::State::Recovered(at) => AgentState::Recovered { deadline: Mono(at) },
        agent_part::State::Active(link) => AgentState::Active { link: LinkId(link) },
        agent_part::State::Disconnected(at) => AgentState::Disconnected { since: Wall(at) },
        agent_part::State::Unreachable(at) => AgentState::Unreachable { since: Wall(at) },
    };
    Ok(AgentPart {
        id: agent_id(record.id)?,
        info: nouns::read_agent(record.info.ok_or(Missing("info"))?)?,
        state,
        admitted: Wall(record.admitted_ms),
        heard: record.heard.map(read_now),
        drain: record.drain.map(read_drain).transpose()?,
        capabilities: bourse_wire::agent::read_capabilities(&record.capabilities),
        principal: optional(record.principal, principal)?,
    })
}

fn write_drain(drain: &Drain) -> wire::DrainPart {
    let phase = match drain.phase {
        DrainPhase::Waiting { deadline } => drain_part::Phase::Waiting(deadline.as_nanos()),
        DrainPhase::Killing => drain_part::Phase::Killing(true),
        DrainPhase::Drained => drain_part::Phase::Drained(true),
    };
    wire::DrainPart {
        phase: Some(phase),
        left_nanos: nanos(drain.left),
        started_ms: drain.started.as_millis(),
        mark_gone: drain.mark_gone,
    }
}

fn read_drain(record: wire::DrainPart) -> Result<Drain, BadRecord> {
    let phase = match record.phase.ok_or(Missing("phase"))? {
        drain_part::Phase::Waiting(at) => DrainPhase::Waiting { deadline: Mono(at) },
        drain_part::Phase::Killing(_) => DrainPhase::Killing,
        drain_part::Phase::Drained(_) => DrainPhase::Drained,
    };
    Ok(Drain {
        phase,
        left: Duration::from_nanos(record.left_nanos),
        started: Wall(record.started_ms),
        mark_gone: record.mark_gone,
    })
}

fn write_framework(framework: &FrameworkPart) -> wire::FrameworkPart {
    let state = match framework.state {
        FrameworkState::Recovered { deadline } => framework_part::State::Recovered(deadline.as_nanos()),
        FrameworkState::Active { stream } => framework_part::State::Active(stream.0),
        FrameworkState::Disconnected { since, deadline } => {
            framework_part::State::Disconnected(wire::DisconnectedPart {
                since_ms: since.as_millis(),
                deadline_nanos: deadline.as_nanos(),
            })
        }
    };
    wire::FrameworkPart {
        id: framework.id.to_string(),
        info: Some(nouns::write_framework(&framework.info)),
        state: Some(state),
        absence: framework.absence.map(|absence| wire::AbsenceRecord {
            left_nanos: nanos(absence.left),
            at_ms: absence.at.as_millis(),
        }),
        registered_ms: framework.registered.as_millis(),
        suppressed: framework.suppressed.iter().map(ToString::to_string).collect(),
        served: framework.served.iter().map(|(role, served)| (role.to_string(), *served)).collect(),
        unserved: framework.unserved.iter().map(|(why, n)| (word(*why).to_owned(), *n)).collect(),
        torn_down: framework.torn_down,
    }
}

fn read_framework(record: wire::FrameworkPart) -> Result<FrameworkPart, BadRecord> {
    let state = match record.state.ok_or(Missing("the framework's state"))? {
        framework_part::State::Recovered(at) => FrameworkState::Recovered { deadline: Mono(at) },
        framework_part::State::Active(stream) => FrameworkState::Active { stream: StreamId(stream) },
        framework_part::State::Disconnected(away) => {
            FrameworkState::Disconnected { since: Wall(away.since_ms), deadline: Mono(away.deadline_nanos) }
        }
    };
    let served = all(record.served.into_iter().collect(), |(name, n): (String, u64)| Ok((role(name)?, n)))?;
    let unserved =
        all(record.unserved.into_iter().collect(), |(word, n): (String, u64)| Ok((unserved(&word)?, n)))?;
    Ok(FrameworkPart {
        id: framework_id(record.id)?,
        info: nouns::read_framework(record.info.ok_or(Missing("info"))?)?,
        state,
        absence: record.absence.map(|absence| Absence {
            left: Duration::from_nanos(absence.left_nanos),
            at: Wall(absence.at_ms),
        }),
        registered: Wall(record.registered_ms),
        suppressed: all(record.suppressed, role)?.into_iter().collect(),
        served: served.into_iter().collect(),
        unserved: unserved.into_iter().collect(),
        torn_down: record.torn_down,
    })
}

/// All reasons for [`unserved`] to look through.
const UNSERVED: [Unserved; 10] = [
    Unserved::AgentAway,
    Unserved::Draining,
    Unserved::Inactive,
    Unserved::Suppressed,
    Unserved::Capability,
    Unserved::Reservation,
    Unserved::Held,
    Unserved::TooSmall,
    Unserved::Filter,
    Unserved::Share,
];

/// A word of its own for each: people are shown one for two of them.
fn word(why: Unserved) -> &'static str {
    match why {
        Unserved::AgentAway => "agent_away",
        Unserved::Draining => "draining",
        Unserved::Inactive => "inactive",
        Unserved::Suppressed => "suppressed",
        Unserved::Capability => "capability",
        Unserved::Reservation => "reservation",
        Unserved::Held => "held",
        Unserved::TooSmall => "too_small",
        Unserved::Filter => "filter",
        Unserved::Share => "share",
    }
}

fn unserved(text: &str) -> Result<Unserved, BadRecord> {
    let known = UNSERVED.into_iter().find(|why| word(*why) == text);
    known.ok_or(Missing("a reason for no offers that this build knows"))
}

fn write_task(place: Place, task: &Task) -> wire::TaskPart {
    let place = match place {
        Place::Live => task_part::Place::Live,
        Place::Unreachable => task_part::Place::Unreachable,
        Place::Completed => task_part::Place::Completed,
    };
    wire::TaskPart {
        place: place as i32,
        info: Some(event::write_task(&task.info)),
        framework_id: task.framework.to_string(),
        role: task.role.to_string(),
        agent_id: task.agent.to_string(),
        state: bourse_wire::status::write_state(task.state) as i32,
        statuses: task.statuses.iter().map(nouns::write_status).collect(),
        launched_ms: task.launched.as_millis(),
        changed_ms: task.changed.as_millis(),
        holds: task.holds,
        resized: task.resized,
        resize: task.resize.as_ref().map(nouns::write_size),
        pending: task.pending.as_ref().map(nouns::write_status),
        acknowledged: task.acknowledged.map(|uuid| uuid.to_vec().into()).unwrap_or_default(),
        kill: task.kill.as_ref().map(|kill| wire::KillOrderPart {
            policy: kill.policy.as_ref().map(nouns::write_kill_policy),
            reason: kill.reason.map(|reason| bourse_wire::status::write_reason(reason) as i32),
        }),
    }
}

fn read_task(record: wire::TaskPart) -> Result<(Place, Task), BadRecord> {
    let place = match record.place() {
        task_part::Place::Unspecified => return Err(Missing("the task's place")),
        task_part::Place::Live => Place::Live,
        task_part::Place::Unreachable => Place::Unreachable,
        task_part::Place::Completed => Place::Completed,
    };
    let acknowledged: Option<[u8; 16]> = match &record.acknowledged[..] {
        [] => None,
        uuid => Some(uuid.try_into().map_err(BadRecord::bad("acknowledged"))?),
    };
    let task = Task {
        info: event::read_task(record.info.ok_or(Missing("the task's info"))?)?,
        framework: framework_id(record.framework_id)?,
        role: role(record.role)?,
        agent: agent_id(record.agent_id)?,
        state: bourse_wire::status::read_state(record.state).map_err(BadRecord::bad("the task's state"))?,
        statuses: all(record.statuses, nouns::read_status)?,
        launched: Wall(record.launched_ms),
        changed: Wall(record.changed_ms),
        holds: record.holds,
        resized: record.resized,
        resize: record.resize.map(nouns::read_size).transpose()?,
        pending: record.pending.map(nouns::read_status).transpose()?,
        acknowledged,
        kill: record.kill.map(read_kill).transpose()?,
    };
    Ok((place, task))
}

fn read_kill(record: wire::KillOrderPart) -> Result<KillOrder, BadRecord> {
    let reason = record.reason.map(bourse_wire::status::read_reason).transpose();
    Ok(KillOrder {
        policy: record.policy.map(nouns::read_kill_policy).transpose()?,
        reason: reason.map_err(BadRecord::bad("the reason of a kill"))?,
    })
}

fn write_offer(offer: &Offer) -> wire::OfferPart {
    wire::OfferPart {
        id: offer.id.to_string(),
        framework_id: offer.framework.to_string(),
        role: offer.role.to_string(),
        agent_id: offer.agent.to_string(),
        resources: nouns::write_resources(&offer.resources),
        made_ms: offer.made.as_millis(),
        expires_nanos: offer.expires.as_nanos(),
    }
}

fn read_offer(record: wire::OfferPart) -> Result<Offer, BadRecord> {
    Ok(Offer {
        id: offer_id(record.id)?,
        framework: framework_id(record.framework_id)?,
        role: role(record.role)?,
        agent: agent_id(record.agent_id)?,
        resources: nouns::read_resources(record.resources)?,
        made: Wall(record.made_ms),
        expires: Mono(record.expires_nanos),
    })
}

fn write_due(due: &Due) -> deadline_part::Due {
    match due {
        Due::Agent(id) => deadline_part::Due::Agent(id.to_string()),
        Due::Framework(id) => deadline_part::Due::Framework(id.to_string()),
        Due::Offer(id) => deadline_part::Due::Offer(id.to_string()),
        Due::Drain(id) => deadline_part::Due::Drain(id.to_string()),
        Due::Refusals(id) => deadline_part::Due::Refusals(id.to_string()),
        Due::Forget => deadline_part::Due::Forget(true),
    }
}

fn read_due(record: deadline_part::Due) -> Result<Due, BadRecord> {
    Ok(match record {
        deadline_part::Due::Agent(id) => Due::Agent(agent_id(id)?),
        deadline_part::Due::Framework(id) => Due::Framework(framework_id(id)?),
        deadline_part::Due::Offer(id) => Due::Offer(offer_id(id)?),
        deadline_part::Due::Drain(id) => Due::Drain(agent_id(id)?),
        // Each filter once had its own.
        deadline_part::Due::Filter(due) => Due::Refusals(agent_id(due.agent_id)?),
        deadline_part::Due::Refusals(id) => Due::Refusals(agent_id(id)?),
        deadline_part::Due::Forget(_) => Due::Forget,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_for_no_offers_has_a_word_of_its_own() {
        assert_eq!(UNSERVED.map(|why| unserved(word(why)).expect("one of ours")), UNSERVED);
    }
}
