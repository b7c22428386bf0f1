//! Frameworks of several kinds launch tasks until all have theirs: Mesos' MultiFrameworkAllocations, and a large cluster
//! that is filled.

use std::time::Duration;

use anyhow::{bail, ensure};
use bourse_types::{Resources, Role};

use super::Size;
use super::floor;
use super::world::{Did, Looks, World, resources};
use crate::figures::{Figures, short, tell};

/// What is left of an offer is refused for so long: what Mesos' schedulers say if they say nothing.
const REFUSE: Duration = Duration::from_secs(5);

/// Frameworks of one kind.
pub struct Class {
    /// How many.
    pub frameworks: usize,
    /// Tasks of each.
    pub tasks: usize,
    /// Of those, so many on one offer at most.
    pub an_offer: usize,
    /// What each task holds.
    pub size: &'static str,
}

/// A cluster and its frameworks.
pub struct Mix {
    /// What it is called.
    pub what: &'static str,
    /// Agents.
    pub agents: usize,
    /// What each of them has.
    pub machine: &'static str,
    /// Its frameworks.
    pub classes: &'static [Class],
}

/// What is measured.
pub const MIXES: [Mix; 2] = [
    Mix {
        what: "placements of Mesos' MultiFrameworkAllocations",
        agents: 80,
        machine: "cpus:64;mem:488000",
        classes: &[
            Class { frameworks: 4, tasks: 4_000, an_offer: 100, size: "cpus:0.07;mem:400" },
            Class { frameworks: 500, tasks: 5, an_offer: 1, size: "cpus:0.1;mem:4000" },
            Class { frameworks: 50, tasks: 20, an_offer: 5, size: "cpus:1;mem:1000" },
        ],
    },
    Mix {
        what: "placements that fill a cluster",
        agents: 50_000,
        machine: "cpus:10;mem:1280",
        classes: &[Class { frameworks: 1_000, tasks: 500, an_offer: 10, size: "cpus:1;mem:128" }],
    },
];

/// What a framework still wants.
struct Want {
    left: usize,
    an_offer: usize,
    size: Resources,
}

impl Mix {
    /// All agents and frameworks.
    pub fn size(&self) -> Size {
        let frameworks = self.classes.iter().map(|class| class.frameworks).sum();
        Size { agents: self.agents, frameworks }
    }

    /// Each framework's wish; in a smaller cluster there are fewer tasks, as many fewer as there are agents.
    fn wants(&self, size: Size) -> Vec<Want> {
        let (whole, mut wants) = (self.size(), Vec::new());
        for class in self.classes {
            let frameworks = (class.frameworks * size.frameworks / whole.frameworks).max(1);
            let tasks = class.frameworks * class.tasks * size.agents / whole.agents;
            let want = || Want {
                left: (tasks / frameworks).max(1),
                an_offer: class.an_offer,
                size: resources(class.size),
            };
            wants.extend((0..frameworks).map(|_| want()));
        }
        wants
    }
}

/// Measures and prints.
pub fn measure(mix: &Mix, size: Size) -> anyhow::Result<Did> {
    let mut did = Did::default();
    for looks in [Looks::Nobody, Looks::Every(16)] {
        did = place(mix, size, looks)?;
    }
    let (mut world, want) = (World::new(), &mix.classes[0]);
    let agent = world.agent(mix.machine, &[]);
    floor::records(did.tasks, &world.task(agent, "task", resources(want.size)));
    Ok(did)
}

fn place(mix: &Mix, size: Size, looks: Looks) -> anyhow::Result<Did> {
    let (mut world, mut wants) = (World::new(), mix.wants(size));
    for _ in &wants {
        world.framework(&Role::any(), false);
    }
    for _ in 0..size.agents {
        world.agent(mix.machine, &[]);
    }
    world.watch(looks);
    let mut slices = Figures::new(format!("  a slice of a pass ({looks})"));
    let mut accepts = Figures::new(format!("  an accept with its tasks ({looks})"));
    let mut others = Duration::ZERO;
    let (wanted, mut placed) = (wants.iter().map(|want| want.left).sum::<usize>(), 0);
    while placed < wanted {
        world.until_quiet().slices.into_iter().for_each(|slice| slices.add(slice));
        let offers = world.take_offers();
        if offers.is_empty() {
            // Everybody has just refused what is free.
            match world.until_due(REFUSE) {
                Some(took) => slices.add(took),
                None => {
                    bail!("{placed} of {wanted} tasks are placed, and nobody is offered anything any more")
                }
            }
            continue;
        }
        for (offer, held) in offers {
            let want = &mut wants[held.framework];
            let count = fits(&held.resources, &want.size).min(want.an_offer).min(want.left);
            if count == 0 {
                others += world.decline(held.framework, offer, REFUSE);
                continue;
            }
            let task =
                |number: usize| world.task(held.agent, &format!("t{}", placed + number), want.size.clone());
            let tasks = (0..count).map(task).collect();
            accepts.add(world.accept(held.framework, offer, tasks, REFUSE));
            placed += count;
            want.left -= count;
            if want.left == 0 {
                others += world.suppress(held.framework);
            }
        }
    }
    let run = world.view().tasks().count();
    ensure!(run == wanted, "{wanted} tasks were placed, and {run} run");
    let took = slices.total() + accepts.total() + others;
    let speed = wanted as f64 / took.as_secs_f64();
    let (passed, accepted) = (slices.count(), accepts.count());
    tell(
        &format!("  tasks placed, declines included ({looks})"),
        format!(
            "{speed:>7.0} a second: {wanted} in {} by {accepted} accepts and {passed} slices",
            short(took)
        ),
    );
    slices.spread();
    accepts.spread();
    Ok(world.did())
}

/// How many of this size there is room for.
fn fits(room: &Resources, size: &Resources) -> usize {
    let (room, size) = (room.quantities(), size.quantities());
    let each = size.iter().map(|(name, amount)| room.get(name.as_str()).thousandths() / amount.thousandths());
    each.min().unwrap_or_default() as usize
}
