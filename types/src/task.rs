//! What an agent needs to know to run a plain command task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{
    AgentCapability, AgentId, Command, Controls, FrameworkId, HealthCheck, KillPolicy, Labels, Milli, Name,
    Namespaces, Resources, Role, Rootfs, Size, TaskId, Volume,
};

/// A task that is one command in one container.
///
/// Made by the door from a framework's launch, with the resources, limits and ids that the master owns
/// normalised. The agent may count on every field; it reads no wire message to run a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// The task, unique among its framework's live and unreachable tasks.
    pub id: TaskId,
    /// A name for people. Need not be unique.
    pub name: String,
    /// Whose it is.
    pub framework: FrameworkId,
    /// Where it runs.
    pub agent: AgentId,
    /// The role whose share it counts against.
    pub role: Role,
    /// What it holds; never empty. The request: what it is guaranteed and accounted for.
    pub resources: Resources,
    /// The most it may use of a resource where that differs from the request; `None` as a limit: no limit. A
    /// resource that is absent here is limited by its request.
    pub limits: BTreeMap<Name, Option<Milli>>,
    /// What it asks of the kernel besides.
    pub controls: Controls,
    /// Whether its cpus are cores that nobody else runs on; their number is whole then.
    pub exclusive_cpus: bool,
    /// What it runs.
    pub command: Command,
    /// Its own root; `None`: the machine's programs, libraries and settings.
    pub rootfs: Option<Rootfs>,
    /// What it has of the machine's files besides what every task has.
    pub volumes: Vec<Volume>,
    /// What it has of its own where others share the machine's.
    pub namespaces: Namespaces,
    /// How to tell whether it is well.
    pub health: Option<HealthCheck>,
    /// How to end it.
    pub kill_policy: KillPolicy,
    /// After so long a run it is killed and counts as failed.
    pub max_completion_time: Option<Duration>,
    /// Labels, carried and shown.
    pub labels: Labels,
}

impl TaskSpec {
    /// A command that asks for these resources and for nothing else: its name is its id, its role that of everybody, and it
    /// is limited by its request.
    pub fn plain(
        id: TaskId,
        framework: FrameworkId,
        agent: AgentId,
        resources: Resources,
        command: Command,
    ) -> TaskSpec {
        TaskSpec {
            name: id.to_string(),
            id,
            framework,
            agent,
            role: Role::any(),
            resources,
            limits: BTreeMap::new(),
            controls: Controls::default(),
            exclusive_cpus: false,
            command,
            rootfs: None,
            volumes: Vec::new(),
            namespaces: Namespaces::default(),
            health: None,
            kill_policy: KillPolicy::default(),
            max_completion_time: None,
            labels: Labels::new(),
        }
    }

    /// The most the task may use of a resource: its limit, else what it asked for. `None`: no limit.
    ///
    /// A resource that it neither asked for nor limited is limited to nothing.
    pub fn limit_of(&self, name: &Name) -> Option<Milli> {
        match self.limits.get(name) {
            Some(limit) => *limit,
            None => Some(self.resources.scalar(name.as_str())),
        }
    }

    /// All of it that can change while it runs.
    pub fn size(&self) -> Size {
        Size { resources: self.resources.clone(), limits: self.limits.clone() }
    }

    /// What its agent has to be able to do for it, besides what every agent does.
    pub fn needs(&self) -> BTreeSet<AgentCapability> {
        let asks = [
            (AgentCapability::TaskResourceLimits, !self.limits.is_empty()),
            (AgentCapability::TaskRootfs, self.rootfs.is_some()),
            (AgentCapability::TaskNamespaces, self.namespaces != Namespaces::default()),
            (AgentCapability::TaskControls, self.controls != Controls::default()),
            (AgentCapability::TaskExclusiveCpus, self.exclusive_cpus),
        ];
        asks.into_iter().filter(|(_, asks)| *asks).map(|(need, _)| need).collect()
    }

    /// The same task with another size.
    pub fn resized(&self, size: &Size) -> TaskSpec {
        TaskSpec { resources: size.resources.clone(), limits: size.limits.clone(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> TaskSpec {
        let plain = TaskSpec::plain(
            TaskId::new("t1").expect("valid"),
            FrameworkId::new("f").expect("valid"),
            AgentId::new("a").expect("valid"),
            "cpus:0.5; mem:64".parse().expect("valid"),
            Command::shell("true"),
        );
        TaskSpec { limits: BTreeMap::from([(Name::cpus(), None)]), ..plain }
    }

    #[test]
    fn a_limit_is_the_request_unless_one_is_given() {
        let task = task();
        assert_eq!(task.limit_of(&Name::cpus()), None);
        assert_eq!(task.limit_of(&Name::mem()), Some(Milli::whole(64)));
        assert_eq!(task.limit_of(&Name::gpus()), Some(Milli::ZERO));
        let other = Size::of("cpus:2; mem:128".parse().expect("valid"));
        assert_eq!(task.resized(&other).size(), other);
        assert_eq!(task.resized(&other).resized(&task.size()), task);
    }

    #[test]
    fn a_task_needs_of_its_agent_what_it_asks_for_and_nothing_else() {
        let plain = TaskSpec { limits: BTreeMap::new(), ..task() };
        assert_eq!(plain.needs(), BTreeSet::new());
        let rootfs = Some(Rootfs::new("/srv/web").expect("valid"));
        let namespaces = Namespaces { users: crate::Users::Own, ..Namespaces::default() };
        let controls = Controls { swap: Milli::whole(1), ..Controls::default() };
        for (task, need) in [
            (task(), AgentCapability::TaskResourceLimits),
            (TaskSpec { rootfs, ..plain.clone() }, AgentCapability::TaskRootfs),
            (TaskSpec { namespaces, ..plain.clone() }, AgentCapability::TaskNamespaces),
            (TaskSpec { controls, ..plain.clone() }, AgentCapability::TaskControls),
            (TaskSpec { exclusive_cpus: true, ..plain.clone() }, AgentCapability::TaskExclusiveCpus),
        ] {
            assert_eq!(task.needs(), [need].into());
        }
    }
}
