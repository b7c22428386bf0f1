//! What the core keeps of an agent, an offer and a task, weighed in a process that does nothing else.

use std::process::{self, Command, Stdio};

use anyhow::{Context, bail};
use bourse_types::{Role, TaskState};

use super::Size;
use super::cluster::task_id;
use super::world::{Told, World};
use crate::figures::tell;
use crate::memory;

/// The first argument of the process that is weighed.
pub const MARK: &str = "core-memory";

/// Tasks of an agent that has some. They take half of it.
const TASKS: usize = 10;

/// Measures and prints.
pub fn measure(size: Size) -> anyhow::Result<()> {
    let (bare, offered) = (weigh(size, 0, false)?, weigh(size, 0, true)?);
    let (running, both) = (weigh(size, TASKS, false)?, weigh(size, TASKS, true)?);
    let each = |bytes: u64, of: usize| format!("{:>7} bytes", bytes / of.max(1) as u64);
    tell("  an agent without tasks, its connection not included (aim: under 8 kB)", each(bare, size.agents));
    tell("  an agent with an offer out", each(offered, size.agents));
    tell("  a running task (aim: under 2 kB)", each(running.saturating_sub(bare), size.agents * TASKS));
    tell("  an agent with 10 tasks and an offer out", each(both, size.agents));
    Ok(())
}

/// What a master with this cluster takes more than one that has yet to be made, in bytes.
fn weigh(size: Size, tasks: usize, offers: bool) -> anyhow::Result<u64> {
    let numbers = [size.agents, size.frameworks, tasks, usize::from(offers)].map(|number| number.to_string());
    let ran = Command::new(std::env::current_exe()?)
        .arg(MARK)
        .args(numbers)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting a process of the bench")?;
    let told = String::from_utf8_lossy(&ran.stdout);
    match told.trim().parse() {
        Ok(bytes) if ran.status.success() => Ok(bytes),
        _ => bail!("a process of the bench ended with {} and told {told:?}", ran.status),
    }
}

/// That process: makes the cluster and tells what it takes. `arguments`: agents, frameworks, tasks of an agent, and 1 if
/// each agent is to be offered.
pub fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let numbers: Vec<usize> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    let [agents, frameworks, tasks, offers] = numbers[..] else {
        bail!("{MARK} is said with four numbers, by the bench itself");
    };
    let now = || memory::of_process(process::id()).context("reading what this process takes; mount /proc");
    let before = now()?;
    let mut world = cluster(Size { agents, frameworks }, tasks, offers == 1);
    world.lighten();
    let after = now()?;
    println!("{}", after.saturating_sub(before) * 1024);
    Ok(())
}

/// So many tasks run on each agent, and the rest of it is in an offer or wanted by nobody.
pub(super) fn cluster(size: Size, tasks: usize, offers: bool) -> World {
    let mut world = World::new();
    for _ in 0..size.frameworks {
        world.framework(&Role::any(), !offers);
    }
    for number in 0..size.agents {
        let told = |each: usize| Told {
            framework: (number + each) % size.frameworks,
            name: format!("t{number}-{each}"),
            size: "cpus:1;mem:128",
            state: TaskState::Starting,
            labels: 0,
        };
        let told: Vec<Told<'_>> = (0..tasks).map(told).collect();
        let agent = world.agent("cpus:20;mem:2560;disk:4096;ports:[31000-32000]", &told);
        // As a task has it that was started: two states.
        for Told { framework, name, .. } in &told {
            let task = task_id(name);
            let (number, _) = world.update(agent, *framework, &task, TaskState::Running);
            world.acknowledge(agent, *framework, &task, number);
        }
    }
    world.until_quiet();
    world
}
