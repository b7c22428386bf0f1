//! Another master takes over, with nothing but the registry, and every agent comes back with its tasks: Mesos'
//! AgentReregistrationDelay. Time passes as the events take it, so that there are passes of the allocator in between.

use anyhow::ensure;
use bourse_types::{Role, TaskState};

use super::floor;
use super::world::{Chance, Did, Looks, Told, World, resources};
use super::{LARGEST, Size};
use crate::figures::{Figures, short, tell};

const MACHINE: &str = "cpus:20;mem:10240";
const TASK: &str = "cpus:0.1;mem:64";

/// What comes back.
pub struct Cluster {
    /// What it is called.
    pub what: &'static str,
    /// Agents and frameworks.
    pub size: Size,
    /// Tasks of each agent.
    pub tasks: usize,
    /// Labels of each task.
    pub labels: usize,
    /// What others take for it, or what is aimed at.
    pub cited: &'static str,
}

/// What is measured.
pub const CLUSTERS: [Cluster; 3] = [
    Cluster {
        what: "failover, 5 tasks with 10 labels each on an agent",
        size: Size { agents: 20_000, frameworks: 1 },
        tasks: 5,
        labels: 10,
        cited: "Mesos, in one process: 7.5 s",
    },
    Cluster {
        what: "failover, 100 tasks with 10 labels each on an agent",
        size: Size { agents: 2_000, frameworks: 5 },
        tasks: 100,
        labels: 10,
        cited: "",
    },
    Cluster {
        what: "failover, 10 tasks on an agent",
        size: LARGEST,
        tasks: 10,
        labels: 0,
        cited: "aim: all back within 10 s, of which this is the master's core",
    },
];

/// Measures and prints.
pub fn measure(cluster: &Cluster, size: Size) -> anyhow::Result<Did> {
    let mut did = Did::default();
    // In such a storm the driver's batches are full.
    for looks in [Looks::Nobody, Looks::Every(512)] {
        did = come_back(cluster, size, looks)?;
    }
    let mut world = World::new();
    let agent = world.agent(MACHINE, &[]);
    floor::records(did.tasks, &world.task(agent, "task", resources(TASK)));
    Ok(did)
}

fn come_back(cluster: &Cluster, size: Size, looks: Looks) -> anyhow::Result<Did> {
    let mut before = World::new();
    for _ in 0..size.frameworks {
        before.framework(&Role::any(), false);
    }
    for _ in 0..size.agents {
        before.agent(MACHINE, &[]);
    }
    let (mut world, took) = before.restart();
    tell(&format!("  the master, from its snapshot ({looks})"), short(took));

    world.watch(looks);
    world.run_live();
    let mut subscriptions = Figures::new(format!("  a framework subscribes again ({looks})"));
    for framework in 0..size.frameworks {
        subscriptions.add(world.framework_returns(framework));
    }
    let mut registrations = Figures::new(format!("  an agent registers again, passes included ({looks})"));
    let mut order: Vec<usize> = (0..size.agents).collect();
    for agent in &*Chance::new().draw(&mut order, size.agents) {
        let told = |number: usize| Told {
            framework: (agent + number) % size.frameworks,
            name: format!("t{agent}-{number}"),
            size: TASK,
            state: TaskState::Running,
            labels: cluster.labels,
        };
        let told: Vec<Told<'_>> = (0..cluster.tasks).map(told).collect();
        registrations.add(world.agent_returns(*agent, MACHINE, &told));
    }
    let rest = world.until_quiet();
    let run = world.view().tasks().count();
    let wanted = size.agents * cluster.tasks;
    ensure!(run == wanted, "{wanted} tasks were told of, and {run} are known");
    let active = world.view().agents().filter(|agent| agent.link().is_some()).count();
    ensure!(active == size.agents, "{active} agents of {} are back", size.agents);
    tell(
        &format!("  all agents back ({looks})"),
        format!(
            "{}, and {} until all that is free is offered",
            short(registrations.total()),
            short(rest.whole())
        ),
    );
    subscriptions.spread();
    registrations.spread();
    Ok(world.did())
}
