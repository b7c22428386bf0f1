//! Passes of the allocator: over all agents, over a few, and after a framework has changed its mind.

use anyhow::ensure;
use bourse_types::{Milli, Role, TaskState};

use super::Size;
use super::cluster::{Cluster, Filling, MACHINE, task_id};
use super::floor;
use super::world::{Chance, Did, Looks, Pass, Told, World, YEAR};
use crate::figures::Figures;

/// Agents on which a task ends between two passes.
const ENDS: usize = 10;

/// Passes and slices of one thing.
struct Passes {
    whole: Figures,
    slices: Figures,
}

impl Passes {
    fn new(what: &str) -> Passes {
        let (whole, slices) = (format!("  {what}, whole"), "    a slice of it");
        Passes { whole: Figures::new(whole), slices: Figures::new(slices) }
    }

    fn add(&mut self, pass: Pass) {
        self.whole.add(pass.whole());
        pass.slices.into_iter().for_each(|slice| self.slices.add(slice));
    }

    fn spread(self) {
        self.whole.spread();
        self.slices.spread();
    }
}

/// So many frameworks share each role. What there is is offered, and then there is nothing.
pub fn roles(size: Size, frameworks_a_role: usize) -> anyhow::Result<Did> {
    let mut world = World::new();
    for number in 0..size.frameworks {
        let role = Role::new(format!("role-{}", number / frameworks_a_role))
            .expect("a word with a number is a role");
        world.framework(&role, false);
    }
    for _ in 0..size.agents {
        world.agent("cpus:2;mem:2048;disk:2048", &[]);
    }
    let mut everything = Passes::new("the pass that offers everything");
    everything.add(world.until_quiet());
    ensure!(
        world.did().offers == size.agents,
        "of {} agents {} were offered",
        size.agents,
        world.did().offers
    );
    everything.spread();

    let mut nothing = Passes::new("a pass with nothing to offer");
    for _ in 0..10 {
        world.framework(&Role::any(), true);
        nothing.add(world.until_quiet());
    }
    nothing.spread();
    floor::pass(size.agents, size.agents);
    ensure!(world.did().offers == size.agents, "an agent was offered twice");
    Ok(world.did())
}

/// An operator weighs the role: all offers are taken back, and all that is free is offered anew.
pub fn full(size: Size, full_of_ten: usize) -> anyhow::Result<Did> {
    let Cluster { mut world, role, free, .. } = Cluster::start(size, full_of_ten);
    let mut weighs = Figures::new("  the event itself, which takes the offers back");
    let mut passes = Passes::new("the pass");
    for round in 0..rounds(size) {
        // Never what it weighs already, which would change nothing.
        weighs.add(world.weigh(&role, Milli::whole(2 + round % 2)));
        let pass = world.until_quiet();
        ensure!(pass.offers == free, "{free} agents have room, and {} were offered", pass.offers);
        passes.add(pass);
    }
    weighs.spread();
    passes.spread();
    floor::pass(free, free);
    Ok(world.did())
}

fn rounds(size: Size) -> u64 {
    if size.agents > 10_000 { 3 } else { 10 }
}

/// Tasks end on a few agents, and what came free is offered; then the same on agents that everybody refuses.
pub fn incremental(size: Size, rounds: usize) -> anyhow::Result<Did> {
    let Cluster { mut world, mut full, .. } = Cluster::start(size, 9);
    let mut chance = Chance::new();
    for (turn, looks) in [Looks::Nobody, Looks::Every(16)].into_iter().enumerate() {
        let mut passes = Passes::new(&format!("{ENDS} tasks ended, the pass ({looks})"));
        world.watch(looks);
        for round in 0..rounds {
            let drawn = chance.draw(&mut full, ENDS);
            for filling in &*drawn {
                end(&mut world, filling);
            }
            let pass = world.until_quiet();
            ensure!(
                pass.offers == drawn.len(),
                "{} agents came free, {} were offered",
                drawn.len(),
                pass.offers
            );
            passes.add(pass);
            fill(&mut world, drawn, &format!("f{turn}-{round}"))?;
        }
        passes.spread();
    }
    floor::pass(ENDS, ENDS);
    world.watch(Looks::Nobody);
    refused(&mut world, size, rounds)?;
    floor::pass(ENDS, ENDS * size.frameworks);
    Ok(world.did())
}

fn end(world: &mut World, Filling { agent, framework, task }: &Filling) {
    let (number, _) = world.update(*agent, *framework, task, TaskState::Finished);
    world.acknowledge(*agent, *framework, task, number);
}

/// Whoever was offered these agents fills them again, so that there is always a task to end.
fn fill(world: &mut World, emptied: &mut [Filling], name: &str) -> anyhow::Result<()> {
    for (offer, held) in world.take_offers() {
        let filling = emptied.iter_mut().find(|filling| filling.agent == held.agent);
        let Some(filling) = filling else { anyhow::bail!("agent {} was offered, and is full", held.agent) };
        let task = world.task(held.agent, &format!("{name}-{}", held.agent), held.resources);
        (filling.framework, filling.task) = (held.framework, task.id.clone());
        world.accept(held.framework, offer, vec![task], YEAR);
    }
    // The agents were marked, as their offers were taken.
    world.until_quiet();
    Ok(())
}

/// On a few agents there is something free, which each framework has refused for a year. Small tasks end on them.
fn refused(world: &mut World, size: Size, rounds: usize) -> anyhow::Result<()> {
    let agents: Vec<usize> = (0..ENDS).map(|_| world.agent(MACHINE, &[])).collect();
    world.until_quiet();
    for _ in 0..size.frameworks {
        for (offer, held) in world.take_offers() {
            world.decline(held.framework, offer, YEAR);
        }
        world.until_quiet();
    }
    ensure!(world.take_offers().is_empty(), "an agent was offered that everybody has refused for a year");
    let watching = [Looks::Nobody, Looks::Every(16)];
    let tasks = rounds * watching.len();
    let small = |agent: usize, number: usize| Told {
        framework: number % size.frameworks,
        name: format!("s{agent}-{number}"),
        size: "cpus:0.01;mem:1",
        state: TaskState::Running,
        labels: 0,
    };
    for &agent in &agents {
        let told: Vec<Told<'_>> = (0..tasks).map(|number| small(agent, number)).collect();
        world.agent_returns(agent, MACHINE, &told);
    }
    world.until_quiet();
    let mut number = 0;
    for looks in watching {
        let mut passes = Passes::new(&format!("the same where everybody refuses the agents ({looks})"));
        world.watch(looks);
        for _ in 0..rounds {
            for &agent in &agents {
                let told = small(agent, number);
                let filling = Filling { agent, framework: told.framework, task: task_id(&told.name) };
                end(world, &filling);
            }
            number += 1;
            let pass = world.until_quiet();
            ensure!(pass.offers == 0, "an agent was offered that everybody has refused for a year");
            passes.add(pass);
        }
        passes.spread();
    }
    Ok(())
}

/// A framework revives its role: its filters are forgotten, and every agent with room is looked at.
pub fn revive(size: Size) -> anyhow::Result<Did> {
    let Cluster { mut world, free, .. } = Cluster::start(size, 9);
    let mut chance = Chance::new();
    for looks in [Looks::Nobody, Looks::Every(1)] {
        let mut event = Figures::new(format!("  REVIVE itself ({looks})"));
        let mut passes = Passes::new(&format!("what it has looked at ({looks})"));
        world.watch(looks);
        for _ in 0..10 * rounds(size) {
            event.add(world.revive(chance.below(size.frameworks)));
            passes.add(world.until_quiet());
        }
        event.spread();
        passes.spread();
    }
    floor::pass(free, free);
    Ok(world.did())
}
