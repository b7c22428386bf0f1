//! Updates of tasks on random agents, and their acknowledgements: what a cluster does most of the time.

use anyhow::ensure;
use bourse_types::{Role, TaskState};

use super::Size;
use super::cluster::{Filling, task_id};
use super::floor;
use super::world::{Chance, Did, Looks, Told, World};
use crate::figures::Figures;

/// Tasks of each agent. Together they fill it, so that offers are no part of this.
const TASKS: usize = 10;

/// As the driver does with little, with some and with much to do.
const LOOKS: [Looks; 4] = [Looks::Nobody, Looks::Every(1), Looks::Every(16), Looks::Every(512)];

/// Measures and prints; so many tasks go from their start to their end for each way to look, if there are as many.
pub fn measure(size: Size, times: usize) -> anyhow::Result<Did> {
    let (mut world, mut tasks) = start(size);
    let all = tasks.len();
    let times = times.min(all / LOOKS.len());
    let drawn = Chance::new().draw(&mut tasks, times * LOOKS.len());
    for (looks, tasks) in LOOKS.into_iter().zip(drawn.chunks(times)) {
        world.watch(looks);
        for state in [TaskState::Starting, TaskState::Running, TaskState::Finished] {
            let mut updates = Figures::new(format!("  {state} ({looks})"));
            let mut acknowledges = Figures::new("    its acknowledgement");
            let mut numbers = Vec::with_capacity(times);
            for Filling { agent, framework, task } in tasks {
                let (number, took) = world.update(*agent, *framework, task, state);
                updates.add(took);
                numbers.push(number);
            }
            for (Filling { agent, framework, task }, number) in tasks.iter().zip(numbers) {
                acknowledges.add(world.acknowledge(*agent, *framework, task, number));
            }
            updates.spread();
            acknowledges.spread();
        }
        // What came free is offered, unmeasured, and stays in those offers.
        world.watch(Looks::Nobody);
        world.until_quiet();
    }
    let did = world.did();
    ensure!(did.ended == times * LOOKS.len(), "{} tasks ended, of {}", did.ended, times * LOOKS.len());
    let left = world.view().tasks().count();
    ensure!(left == all - did.ended, "{left} tasks are left of {all}, and {} have ended", did.ended);
    let Filling { agent, task, .. } = &tasks[0];
    floor::update(all, &world.status(*agent, task, TaskState::Running, 1), times);
    Ok(did)
}

fn start(size: Size) -> (World, Vec<Filling>) {
    let (mut world, mut tasks) = (World::new(), Vec::with_capacity(size.agents * TASKS));
    for _ in 0..size.frameworks {
        world.framework(&Role::any(), false);
    }
    for number in 0..size.agents {
        let told = |each: usize| Told {
            framework: (number * TASKS + each) % size.frameworks,
            name: format!("t{number}-{each}"),
            size: "cpus:1;mem:128",
            state: TaskState::Staging,
            labels: 0,
        };
        let told: Vec<Told<'_>> = (0..TASKS).map(told).collect();
        let agent = world.agent("cpus:10;mem:1280", &told);
        tasks.extend(told.iter().map(|told| Filling {
            agent,
            framework: told.framework,
            task: task_id(&told.name),
        }));
    }
    world.until_quiet();
    (world, tasks)
}
