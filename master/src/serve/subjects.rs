//! What operators' texts name: the agents, frameworks and tasks of a picture.
//!
//! The rule is [`resolve`](super::resolve)'s, the same in every call; here is what it is applied to, and what of several
//! things of one name is meant. A whole id is looked up, as programs give those: only a text that is none is compared
//! with every name.

use std::collections::BTreeSet;

use bourse_master_core::{Agent, Framework, Task, View};
use bourse_types::{AgentId, FrameworkId};
use tonic::Status;

use super::resolve::{self, Named};

fn agents(view: &View) -> impl Iterator<Item = Named<&Agent>> {
    view.agents().map(|agent| Named {
        thing: agent,
        id: agent.id.to_string(),
        name: agent.info.hostname.clone(),
    })
}

fn frameworks(view: &View) -> impl Iterator<Item = Named<&Framework>> {
    view.frameworks().map(named_framework)
}

fn agent_of<'a>(view: &'a View, id: &str) -> Option<&'a Agent> {
    AgentId::new(id).ok().and_then(|id| view.agent(&id))
}

fn framework_of<'a>(view: &'a View, id: &str) -> Option<&'a Framework> {
    FrameworkId::new(id).ok().and_then(|id| view.framework(&id))
}

fn things<T>(found: Vec<Named<T>>) -> Vec<T> {
    found.into_iter().map(|named| named.thing).collect()
}

/// All agents that a text names, by id.
pub(super) fn all_agents<'a>(view: &'a View, text: &str) -> Vec<&'a Agent> {
    match agent_of(view, text) {
        Some(agent) => vec![agent],
        None => things(resolve::all(text, agents(view))),
    }
}

/// All frameworks that a text names, of those that are there, by id, and then of these others.
pub(super) fn all_frameworks<'a>(
    view: &'a View,
    text: &str,
    others: impl Iterator<Item = Named<&'a Framework>>,
) -> Vec<&'a Framework> {
    match framework_of(view, text) {
        Some(framework) => vec![framework],
        None => things(resolve::all(text, frameworks(view).chain(others))),
    }
}

/// The one agent that a text names.
pub(super) fn agent<'a>(view: &'a View, text: &str) -> Result<&'a Agent, Status> {
    agent_of(view, text).map_or_else(|| resolve::one("agent", text, agents(view)), Ok)
}

/// The one framework that a text names, of those that were not torn down.
pub(super) fn framework<'a>(view: &'a View, text: &str) -> Result<&'a Framework, Status> {
    framework_of(view, text).map_or_else(|| resolve::one("framework", text, frameworks(view)), Ok)
}

pub(super) fn named_framework(framework: &Framework) -> Named<&Framework> {
    Named { thing: framework, id: framework.id.to_string(), name: framework.info.name.clone() }
}

pub(super) fn named_task(task: &Task) -> Named<&Task> {
    Named { thing: task, id: task.info.id.to_string(), name: task.info.name.clone() }
}

/// The agent of this id, if it is gone.
fn gone_agent(view: &View, id: &str) -> Option<AgentId> {
    AgentId::new(id).ok().filter(|id| view.gone_agent(id).is_some())
}

/// The framework that a text names, also one that was torn down; none for an empty text.
pub(super) fn framework_filter(view: &View, text: &str) -> Result<Option<FrameworkId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = framework_of(view, text).map_or_else(
        || {
            let all = frameworks(view).chain(view.completed_frameworks().map(named_framework));
            resolve::one("framework", text, all)
        },
        Ok,
    );
    found.map(|framework| Some(framework.id.clone()))
}

/// The agent that a text names, also one that is gone, by its whole id; none for an empty text.
pub(super) fn agent_filter(view: &View, text: &str) -> Result<Option<AgentId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(gone) = gone_agent(view, text) {
        return Ok(Some(gone));
    }
    agent(view, text).map(|agent| Some(agent.id.clone()))
}

/// The task that a text names: one that is alive, or else the newest of that name that has ended.
pub(super) fn task<'a>(view: &'a View, text: &str, framework: &str) -> Result<&'a Task, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(
            "no task is named; give its id, a unique beginning of it, or its name",
        ));
    }
    let framework = framework_filter(view, framework)?;
    let is_wanted = |id: &FrameworkId| framework.as_ref().is_none_or(|framework| id == framework);
    let wanted = |task: &&Task| is_wanted(&task.framework);
    let of_id = view
        .frameworks()
        .filter(|framework| is_wanted(&framework.id))
        .filter_map(|framework| framework.tasks.get(text).or_else(|| framework.unreachable.get(text)));
    let mut alive: Vec<_> = of_id.map(named_task).collect();
    if alive.is_empty() {
        alive = resolve::all(text, view.tasks().filter(wanted).map(named_task));
    }
    match &alive[..] {
        [one] => Ok(one.thing),
        [] => {
            let mut ended = resolve::all(text, view.completed_tasks().filter(wanted).map(named_task));
            // The same task again and again is the usual case of several: the last time counts.
            let newest = ended.iter().map(|named| named.thing.changed).max();
            let names = ended.iter().map(|named| &named.name).collect::<BTreeSet<_>>().len();
            if names <= 1 {
                ended.retain(|named| Some(named.thing.changed) == newest);
                ended.truncate(1);
            }
            resolve::one("task", text, ended.into_iter())
        }
        _ => resolve::one("task", text, alive.into_iter()),
    }
}

/// The ids of all that a text names; of nothing, for an empty text.
pub(super) fn named_ids(view: &View, text: &str) -> BTreeSet<String> {
    if text.is_empty() {
        return BTreeSet::new();
    }
    fn ids<T>(found: Vec<Named<T>>) -> impl Iterator<Item = String> {
        found.into_iter().map(|named| named.id)
    }
    let torn_down = view.completed_frameworks().map(named_framework);
    let tasks = view.tasks().chain(view.completed_tasks()).map(named_task);
    ids(resolve::all(text, agents(view)))
        .chain(ids(resolve::all(text, frameworks(view).chain(torn_down))))
        .chain(ids(resolve::all(text, tasks)))
        .collect()
}

/// The agent of something that cannot be undone: named as a whole, and not by whatever begins like it. One that is gone
/// is answered the same again.
pub(super) fn agent_for_good(view: &View, text: &str) -> Result<AgentId, Status> {
    if let Some(gone) = gone_agent(view, text) {
        return Ok(gone);
    }
    let agent = agent(view, text)?;
    if agent.id.as_str() != text && agent.info.hostname != text {
        return Err(Status::invalid_argument(format!(
            "{text:?} is short for agent {} ({}), and gone cannot be undone: give its whole id or hostname",
            agent.info.hostname, agent.id
        )));
    }
    Ok(agent.id.clone())
}

/// The framework of something that cannot be undone, likewise.
pub(super) fn framework_for_good(view: &View, text: &str) -> Result<FrameworkId, Status> {
    if let Some(gone) = view.completed_frameworks().find(|framework| framework.id.as_str() == text) {
        return Ok(gone.id.clone());
    }
    let framework = framework(view, text)?;
    if framework.id.as_str() != text && framework.info.name != text {
        return Err(Status::invalid_argument(format!(
            "{text:?} is short for framework {} ({}), and teardown cannot be undone: give its whole id or name",
            framework.info.name, framework.id
        )));
    }
    Ok(framework.id.clone())
}
