//! Act two: the faults have stopped, and everybody has to come to know the same and to have what they want.

use std::collections::{BTreeMap, BTreeSet};

use bourse_agent_core::TaskKey;
use bourse_master_core::{AgentState, FrameworkState, View};
use bourse_types::{Milli, TaskState};

use crate::world::World;

/// What is not as it has to be in the end, as sentences; empty when all is well.
pub fn lacking(world: &World) -> Vec<String> {
    let mut lacking = Vec::new();
    let Some(master) = world.master() else {
        lacking.push("there is no master".to_owned());
        return lacking;
    };
    if !master.is_idle() {
        lacking.push("the master has something to do".to_owned());
    }
    let view = master.view(world.outside());
    agents(world, &view, &mut lacking);
    let believed = schedulers(world, &view, &mut lacking);
    machines(world, &believed, &mut lacking);
    for task in view.tasks() {
        if let Some(pending) = &task.pending {
            lacking.push(format!(
                "the master waits for an acknowledgement of {} {}",
                task.info.id, pending.state
            ));
        }
        if task.state == TaskState::Unreachable {
            lacking.push(format!("{} is unreachable", task.info.id));
        }
    }
    if !world.vandal_is_over() {
        lacking.push("the rude client is still there".to_owned());
    }
    let unanswered = world.outside().checks.unanswered(master.process().life);
    if unanswered > 0 {
        lacking.push(format!("{unanswered} questions of operators were not answered"));
    }
    lacking
}

/// Every agent is there, and has nothing left to say.
fn agents(world: &World, view: &View, lacking: &mut Vec<String>) {
    for (index, agent) in world.agents().enumerate() {
        if world.is_dead(index) {
            continue;
        }
        let Some(core) = agent.core() else {
            lacking.push(format!("agent {index} does not run"));
            continue;
        };
        let state = core.id().and_then(|id| view.agent(id)).map(|known| known.state);
        if !core.is_registered() || !matches!(state, Some(AgentState::Active { .. })) {
            lacking.push(format!("agent {index} is {state:?} at the master"));
        }
        for (key, task) in &core.state().tasks {
            if !task.unacknowledged.is_empty() {
                lacking.push(format!("agent {index} waits for an acknowledgement about {key}"));
            }
            let known = view.task(&key.framework, &key.task).map(|task| task.state);
            let own = task.latest.as_ref().map(|latest| latest.state);
            if known != own {
                lacking.push(format!("agent {index} says {key} is {own:?}, the master says {known:?}"));
            }
        }
    }
    let known: Vec<_> =
        view.agents().filter(|known| !matches!(known.state, AgentState::Active { .. })).collect();
    for known in known {
        lacking.push(format!("the master knows agent {} as {}", known.id, known.word()));
    }
}

/// Every scheduler has what it wants, and believes what the master does. Answers with what they believe to be alive.
fn schedulers(world: &World, view: &View, lacking: &mut Vec<String>) -> BTreeSet<TaskKey> {
    let mut believed = BTreeSet::new();
    for scheduler in world.schedulers().filter(|scheduler| scheduler.over().is_none()) {
        let name = &scheduler.info().name;
        let (Some(witness), Some(id)) = (scheduler.witness(), scheduler.framework()) else {
            lacking.push(format!("{name} does not run"));
            continue;
        };
        lacking.extend(witness.author().wants().into_iter().map(|wanted| format!("{name}: {wanted}")));
        let Some(record) = view.framework(id) else {
            lacking.push(format!("the master does not know {name}"));
            continue;
        };
        if !matches!(record.state, FrameworkState::Active { .. }) {
            lacking.push(format!("{name} is {} at the master", record.state.as_str()));
        }
        let aware = record.info.capabilities.partition_aware;
        let alive = witness.author().alive().into_iter();
        let own: BTreeMap<_, _> = alive.map(|(task, (_, state))| (task, state)).collect();
        let known: BTreeMap<_, _> = record
            .tasks
            .values()
            .map(|task| (task.info.id.clone(), Some(task.state.told_to(aware))))
            .collect();
        if own != known {
            lacking.push(format!("{name} believes {own:?}, the master {known:?}"));
        }
        believed.extend(own.into_keys().map(|task| TaskKey { framework: id.clone(), task }));
    }
    believed
}

/// What is believed to be alive runs, and nothing else does.
fn machines(world: &World, believed: &BTreeSet<TaskKey>, lacking: &mut Vec<String>) {
    let agents = world.agents().enumerate().filter(|(index, _)| !world.is_dead(*index));
    let running: BTreeSet<TaskKey> =
        agents.flat_map(|(_, agent)| agent.machine().running().cloned()).collect();
    for task in running.difference(believed) {
        lacking.push(format!("{task} runs and is nobody's"));
    }
    for task in believed.difference(&running) {
        lacking.push(format!("{task} is believed in and does not run"));
    }
}

/// While somebody wants everything: what is offered to nobody and used by nobody.
pub fn idle(world: &World) -> Vec<String> {
    let Some(master) = world.master() else { return vec!["there is no master".to_owned()] };
    let view = master.view(world.outside());
    let mut idle = Vec::new();
    for agent in view.agents() {
        let free = agent.available();
        // Less is a crumb, which is not worth an offer.
        if free.cpus() >= Milli::new(10) || free.mem() >= Milli::whole(32) {
            idle.push(format!("{free} of agent {} is offered to nobody", agent.id));
        }
    }
    idle
}

/// Jobs that were done twice. Those that are taken for done and nobody did are found when it is told.
pub fn accounts(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for scheduler in world.schedulers().filter(|scheduler| scheduler.over().is_none()) {
        // One that is not partition aware takes unreachable for lost, and does again what may have been done.
        let strict = scheduler.info().capabilities.partition_aware;
        let Some(id) = scheduler.framework().filter(|_| strict) else { continue };
        let mut done: BTreeMap<String, Vec<&TaskKey>> = BTreeMap::new();
        for (task, known) in world.outside().checks.completions(id) {
            let job = task.task.as_str().split('-').next().unwrap_or_default();
            if known && job.starts_with("job") {
                done.entry(job.to_owned()).or_default().push(task);
            }
        }
        for (job, tasks) in done.into_iter().filter(|(_, tasks)| tasks.len() > 1) {
            wrong.push(format!(
                "{job} of {} was done {} times: {tasks:?}",
                scheduler.info().name,
                tasks.len()
            ));
        }
    }
    wrong
}
