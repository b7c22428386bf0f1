//! A cluster in which most agents are full: what passes are measured on.

use bourse_types::{Role, TaskId, TaskState};

use super::Size;
use super::world::{Told, World};

/// What an agent has, as in Mesos' benchmarks.
pub const MACHINE: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";

/// What is left of it when half of it is free.
const HALF: &str = "cpus:12;mem:2048;disk:2048";

/// A task that fills an agent.
pub struct Filling {
    /// The number of its agent.
    pub agent: usize,
    /// The number of its framework.
    pub framework: usize,
    /// Its id.
    pub task: TaskId,
}

/// A master with agents and frameworks.
pub struct Cluster {
    /// The master, with nothing due: what was free is in offers, which nobody will answer.
    pub world: World,
    /// The role of all frameworks.
    pub role: Role,
    /// Tasks that fill their agents.
    pub full: Vec<Filling>,
    /// How many agents have something free.
    pub free: usize,
}

impl Cluster {
    /// Of ten agents so many are full, and the others half full.
    pub fn start(size: Size, full_of_ten: usize) -> Cluster {
        let role = Role::new("bench").expect("a plain word is a role");
        let (mut world, mut full) = (World::new(), Vec::new());
        for _ in 0..size.frameworks {
            world.framework(&role, false);
        }
        for number in 0..size.agents {
            let fills = number % 10 < full_of_ten;
            let told = Told {
                framework: number % size.frameworks,
                name: format!("t{number}"),
                size: if fills { MACHINE } else { HALF },
                state: TaskState::Running,
                labels: 0,
            };
            let (framework, task) = (told.framework, task_id(&told.name));
            let agent = world.agent(MACHINE, &[told]);
            if fills {
                full.push(Filling { agent, framework, task });
            }
        }
        world.until_quiet();
        drop(world.take_offers());
        Cluster { world, role, free: size.agents - full.len(), full }
    }
}

/// An id of a shape's own making.
pub fn task_id(name: &str) -> TaskId {
    TaskId::new(name).expect("shapes name tasks by letters and numbers")
}
