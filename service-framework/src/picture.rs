//! Pictures for readers: one service with everything that is told about it, cut loose from the state.

use bourse_types::{Now, TaskState, Wall};

use crate::explain::{self, ServiceStory};
use crate::seen::{Attempt, Seen, SlotName};
use crate::wanted::Definition;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePicture {
    /// Its name.
    pub name: String,
    /// Instances wanted.
    pub wanted: u32,
    /// State, reason and counts.
    pub story: ServiceStory,
    /// The text as written.
    pub text: String,
    /// Grows with every change.
    pub version: u64,
    /// Restarts over the last hour.
    pub restarts: u32,
    /// The slots, lowest first; those beyond the count that still hold an instance too.
    pub instances: Vec<InstancePicture>,
}

/// A slot and its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePicture {
    /// `web.0`.
    pub name: String,
    /// From 0.
    pub slot: u32,
    /// Its task and where it is; `None` while there is none.
    pub task: Option<TaskPicture>,
    /// A task state's name, `WAITING` or `BACKING_OFF`.
    pub state: &'static str,
    /// Why it is not running and well.
    pub reason: String,
    /// When it is tried again, while it backs off.
    pub retry: Option<Wall>,
    /// What ended, newest first.
    pub attempts: Vec<Attempt>,
}

/// The task of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPicture {
    /// The task.
    pub task_id: String,
    /// Its agent.
    pub agent_id: String,
    /// That agent's host.
    pub hostname: String,
    /// What its health check says; `None`: nothing yet, or there is none.
    pub healthy: Option<bool>,
    /// The ports it was given.
    pub ports: Vec<u16>,
    /// Since when it is in its state.
    pub since: Wall,
}

/// Takes a picture of one service.
pub fn picture(definition: &Definition, seen: &Seen, now: Now) -> ServicePicture {
    let name = &definition.spec.name;
    let wanted = (0..definition.wanted()).map(|index| SlotName { service: name.clone(), index });
    let beyond =
        seen.slots_of(name).map(|(name, _)| name.clone()).filter(|name| name.index >= definition.wanted());
    ServicePicture {
        name: name.as_str().to_owned(),
        wanted: definition.wanted(),
        story: explain::service(definition, seen, now),
        text: definition.text.clone(),
        version: definition.version,
        restarts: seen.restarts_of(name, now),
        instances: wanted.chain(beyond).map(|name| instance(definition, seen, now, &name)).collect(),
    }
}

fn instance(definition: &Definition, seen: &Seen, now: Now, name: &SlotName) -> InstancePicture {
    let slot = seen.slots.get(name);
    let story = explain::slot(definition, slot, now);
    let task = slot.and_then(explain::shown).map(|instance| TaskPicture {
        task_id: instance.task.as_str().to_owned(),
        agent_id: instance.agent.as_str().to_owned(),
        hostname: instance.hostname.clone(),
        healthy: instance.healthy.filter(|_| instance.state == TaskState::Running),
        ports: instance.ports.clone(),
        since: instance.since_wall,
    });
    InstancePicture {
        name: name.to_string(),
        slot: name.index,
        retry: slot
            .and_then(|slot| slot.retry)
            .map(|retry| retry.wall)
            .filter(|_| story.state == "BACKING_OFF"),
        task,
        state: story.state,
        reason: story.reason,
        attempts: slot.map(|slot| slot.attempts.iter().cloned().collect()).unwrap_or_default(),
    }
}
