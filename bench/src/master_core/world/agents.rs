//! What agents say: they register with their tasks, and tell what becomes of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_master_core::{Event, LinkId, Registration, StatusUpdate, TaskInfo, TaskReport};
use bourse_types::{
    Address, AgentCapability, AgentId, AgentInfo, Attributes, ContainerId, ContainerStatus, Epoch,
    ExecutorId, FrameworkInfo, KillPolicy, Labels, Resources, Role, Source, TaskId, TaskState, TaskStatus,
};
use bytes::Bytes;

use super::{Machine, World, fresh, resources};

/// Of one TaskInfo message, such as a command with a few variables.
const MESSAGE: [u8; 250] = [7; 250];

/// A task that an agent tells of.
pub struct Told<'a> {
    /// The number of its framework.
    pub framework: usize,
    /// Its id.
    pub name: String,
    /// What it holds.
    pub size: &'a str,
    /// How it is.
    pub state: TaskState,
    /// How many labels it has.
    pub labels: usize,
}

impl World {
    /// The id of an agent.
    pub fn agent_id(&self, agent: usize) -> &AgentId {
        &self.agents[agent].id
    }

    /// A new agent with this much, on which these tasks are found. Agents are numbered from 0.
    pub fn agent(&mut self, total: &str, tasks: &[Told<'_>]) -> usize {
        let (number, link) = (self.agents.len(), LinkId(self.number()));
        // As the master will name it.
        let id = AgentId::new(format!("bench-S{number}")).expect("a word with a number is an id");
        self.agents.push(Machine { id, link });
        let event = self.registers(number, None, total, tasks);
        self.apply(event);
        number
    }

    /// The agent registers again, by another link, with these tasks.
    pub fn agent_returns(&mut self, agent: usize, total: &str, tasks: &[Told<'_>]) -> Duration {
        self.agents[agent].link = LinkId(self.number());
        let id = fresh(self.agent_id(agent));
        let event = self.registers(agent, Some(id), total, tasks);
        self.apply(event)
    }

    fn registers(&mut self, agent: usize, id: Option<AgentId>, total: &str, tasks: &[Told<'_>]) -> Event {
        self.did.tasks += tasks.len();
        let frameworks: BTreeMap<usize, FrameworkInfo> =
            tasks.iter().map(|told| (told.framework, self.known(told.framework))).collect();
        let info = AgentInfo {
            hostname: format!("agent-{agent}"),
            address: Address {
                host: format!("10.{}.{}.{}", agent >> 16, (agent >> 8) & 255, agent & 255),
                port: 5051,
            },
            attributes: Attributes::new(),
            total: resources(total),
            version: "0.1.0".to_owned(),
        };
        let registration = Registration {
            id,
            info,
            tasks: tasks.iter().map(|told| self.report(agent, told)).collect(),
            frameworks: frameworks.into_values().collect(),
            epoch: Epoch(1),
            capabilities: AgentCapability::ALL.into(),
            principal: None,
        };
        Event::AgentRegisters { link: self.agents[agent].link, registration: Box::new(registration) }
    }

    fn report(&self, agent: usize, told: &Told<'_>) -> TaskReport {
        let label = |number: usize| (format!("label-{number}"), Some(format!("value-{number}")));
        let mut task = self.task(agent, &told.name, resources(told.size));
        task.labels = (0..told.labels).map(label).collect();
        TaskReport {
            framework: fresh(&self.frameworks[told.framework].id),
            role: Role::new(self.frameworks[told.framework].role.as_str()).expect("it is one"),
            latest: self.status(agent, &task.id, told.state, 0),
            task,
            resized: false,
            resizing: None,
        }
    }

    /// What a framework would launch on this agent.
    pub fn task(&self, agent: usize, name: &str, resources: Resources) -> TaskInfo {
        TaskInfo {
            id: TaskId::new(name).expect("shapes name tasks by words and numbers"),
            name: name.to_owned(),
            agent: fresh(self.agent_id(agent)),
            resources,
            limits: BTreeMap::new(),
            kill_policy: KillPolicy::default(),
            labels: Labels::new(),
            needs: BTreeSet::new(),
            command: "sleep 1000".to_owned(),
            message: Bytes::copy_from_slice(&MESSAGE),
        }
    }

    /// What an agent tells of a task.
    pub fn status(&self, agent: usize, task: &TaskId, state: TaskState, number: u64) -> TaskStatus {
        let container = ContainerId::new(task.as_str()).expect("an id of a task is one of a container");
        TaskStatus {
            agent_id: Some(fresh(self.agent_id(agent))),
            executor_id: Some(ExecutorId::new(task.as_str()).expect("an id of a task is one of an executor")),
            uuid: Some(u128::from(number).to_be_bytes()),
            container: Some(ContainerStatus { container_id: container, pid: Some(4242) }),
            ..TaskStatus::new(fresh(task), state, Source::Executor, self.now.wall)
        }
    }

    /// The agent tells a new state; the update's number, for the acknowledgement.
    pub fn update(
        &mut self,
        agent: usize,
        framework: usize,
        task: &TaskId,
        state: TaskState,
    ) -> (u64, Duration) {
        self.did.ended += usize::from(state.is_terminal());
        let number = self.number();
        let status = self.status(agent, task, state, number);
        let update = StatusUpdate {
            framework: fresh(&self.frameworks[framework].id),
            latest: self.status(agent, task, state, number),
            status,
        };
        let Machine { id, link } = &self.agents[agent];
        let event = Event::StatusUpdate { agent: fresh(id), link: *link, update: Box::new(update) };
        (number, self.apply(event))
    }
}
