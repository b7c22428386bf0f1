//! Mesos' DeclineOffers: every framework declines what it is offered for a year, until each has refused each agent. Then
//! a pass looks at every agent for every framework and finds that nobody wants it.

use std::time::Duration;

use anyhow::ensure;
use bourse_types::{Role, TaskState};

use super::cluster::MACHINE;
use super::floor;
use super::world::{Chance, Did, Told, World, YEAR};
use super::{Size, told};
use crate::figures::Figures;
use crate::memory;

/// What a filter takes at most, in bytes, in a list that grows: so large sizes say beforehand whether there is room.
const FILTER: u64 = 48;

/// Passes over all filters.
const ROUNDS: usize = 3;

/// Measures and prints.
pub fn measure(size: Size) -> anyhow::Result<Did> {
    let filters = size.agents * size.frameworks;
    let (wanted, there) = ((filters as u64 * FILTER) >> 20, memory::available()? >> 10);
    println!("  {filters} filters, about {wanted} MiB; {there} MiB are free");
    if wanted > there {
        println!("  left out, as that is too much for this machine; name fewer: --frameworks");
        return Ok(Did::default());
    }
    let mut world = start(size);
    world.until_quiet();
    let mut declines = Figures::new("  the declines of a round, all together");
    let mut passes = Figures::new("  the pass of a round, whole");
    let mut slices = Figures::new("    a slice of it");
    for _ in 0..size.frameworks {
        let mut took = Duration::ZERO;
        for (offer, held) in world.take_offers() {
            took += world.decline(held.framework, offer, YEAR);
        }
        declines.add(took);
        let pass = world.until_quiet();
        passes.add(pass.whole());
        pass.slices.into_iter().for_each(|slice| slices.add(slice));
    }
    let did = world.did();
    ensure!(did.declined == filters, "of {} there were {} refusals; {did}", told(size), did.declined);
    for figures in [declines, passes, slices] {
        figures.spread();
    }

    let mut passes = Figures::new("  a pass over all filters, whole");
    let mut slices = Figures::new("    a slice of it");
    for _ in 0..ROUNDS {
        // Marks every agent, and wants none of them.
        world.framework(&Role::any(), true);
        let pass = world.until_quiet();
        ensure!(pass.offers == 0, "an agent was offered that everybody has refused for a year");
        passes.add(pass.whole());
        pass.slices.into_iter().for_each(|slice| slices.add(slice));
    }
    passes.spread();
    slices.spread();
    floor::pass(size.agents, filters);
    Ok(did)
}

/// Agents of which each has a task with many ports, so that what is left is many ranges.
fn start(size: Size) -> World {
    let (mut world, mut chance) = (World::new(), Chance::new());
    for _ in 0..size.frameworks {
        world.framework(&Role::any(), false);
    }
    for number in 0..size.agents {
        let held = format!("cpus:16;mem:2014;disk:1024;ports:[{}]", ports(&mut chance));
        let told = Told {
            framework: number % size.frameworks,
            name: format!("t{number}"),
            size: &held,
            state: TaskState::Running,
            labels: 0,
        };
        world.agent(MACHINE, &[told]);
    }
    world
}

/// Sixteen ranges below 32,000 that do not touch.
fn ports(chance: &mut Chance) -> String {
    let range = |number: usize| {
        let begin = 31_000 + 62 * number + chance.below(30);
        format!("{begin}-{}", begin + chance.below(30))
    };
    (0..16).map(range).collect::<Vec<String>>().join(", ")
}
