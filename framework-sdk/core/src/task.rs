//! A task as an author describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::{
    Command, Controls, HealthCheck, IoWeight, KillPolicy, Labels, Milli, Name, Namespaces, Network, OomScore,
    PageSize, Pids, Resource, ResourceKey, ResourceValue, Resources, Rootfs, TaskId, Users, Volume,
};

/// What to run and what it needs; [`Offer::launch`](crate::Offer::launch) finds the resources for it.
///
/// Every method takes and gives the description, so that one expression writes a task. Setting a value again replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub(crate) id: TaskId,
    pub(crate) name: String,
    pub(crate) wanted: Resources,
    pub(crate) ports: u64,
    pub(crate) limits: BTreeMap<Name, Option<Milli>>,
    pub(crate) controls: Controls,
    pub(crate) exclusive_cpus: bool,
    pub(crate) command: Command,
    pub(crate) rootfs: Option<Rootfs>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) namespaces: Namespaces,
    pub(crate) health: Option<HealthCheck>,
    pub(crate) kill_policy: KillPolicy,
    pub(crate) max_completion_time: Option<Duration>,
    pub(crate) labels: Labels,
}

impl Task {
    /// A task of this id, which must never have been used before: take it from [`Calls::task_id`](crate::Calls::task_id).
    /// It is named like its id.
    pub fn new(id: TaskId) -> Task {
        Task {
            name: id.as_str().to_owned(),
            id,
            wanted: Resources::new(),
            ports: 0,
            limits: BTreeMap::new(),
            controls: Controls::default(),
            exclusive_cpus: false,
            command: Command::default(),
            rootfs: None,
            volumes: Vec::new(),
            namespaces: Namespaces::default(),
            health: None,
            kill_policy: KillPolicy::default(),
            max_completion_time: None,
            labels: Labels::new(),
        }
    }

    /// Which one it is.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// A name for people; need not be unique.
    pub fn name(self, name: impl Into<String>) -> Task {
        Task { name: name.into(), ..self }
    }

    /// A line for `/bin/sh`.
    pub fn command(self, line: impl Into<String>) -> Task {
        let Command { shell, value, arguments, .. } = Command::shell(line);
        Task { command: Command { shell, value, arguments, ..self.command }, ..self }
    }

    /// A program and its arguments, without a shell. The first word is the program.
    pub fn exec<T: Into<String>>(self, words: impl IntoIterator<Item = T>) -> Task {
        let Command { shell, value, arguments, .. } = Command::exec(words);
        Task { command: Command { shell, value, arguments, ..self.command }, ..self }
    }

    /// A variable of the task's environment; of two with one name the later holds.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Task {
        let name = name.into();
        self.command.environment.retain(|(present, _)| *present != name);
        self.command.environment.push((name, value.into()));
        self
    }

    /// The user to run as; without one, the framework's. The agent's operator decides who is allowed.
    pub fn user(mut self, user: impl Into<String>) -> Task {
        self.command.user = Some(user.into());
        self
    }

    /// A directory or a tar file of the agent's machine as the task's root, in place of the machine's programs, libraries
    /// and settings: the command is looked up in it. What the task writes to it goes into its sandbox. The agent's operator
    /// decides which paths may be used.
    pub fn rootfs(self, rootfs: Rootfs) -> Task {
        Task { rootfs: Some(rootfs), ..self }
    }

    /// A file or directory of the machine, or one in the sandbox, where the container has it; of two with one place there
    /// the later holds. The agent's operator decides which paths of the machine may be mounted.
    pub fn volume(mut self, volume: Volume) -> Task {
        self.volumes.retain(|present| present.container_path != volume.container_path);
        self.volumes.push(volume);
        self
    }

    /// A network of its own in place of the machine's, with nothing in it but loopback: only the task's own processes reach
    /// it, and it reaches nobody. Checks by HTTP and TCP do not either, so such a task is refused with one; a check by
    /// command runs inside. Ports that it asks for lead nowhere.
    pub fn own_network(self) -> Task {
        Task { namespaces: Namespaces { network: Network::Loopback, ..self.namespaces }, ..self }
    }

    /// Users of its own, 0 to 65535, in place of the machine's: it may be root then where its agent's operator lets no task
    /// be root of the machine. Of the machine's files and volumes it has what everybody has.
    pub fn own_users(self) -> Task {
        Task { namespaces: Namespaces { users: Users::Own, ..self.namespaces }, ..self }
    }

    /// Processors, exact to a thousandth: `Milli::new(500)` is half of one. More is never given, unless
    /// [`Task::limit`] says so: the quota is hard.
    pub fn cpus(self, cpus: Milli) -> Task {
        self.scalar(Name::cpus(), cpus)
    }

    /// Its cpus, a whole number of them, are cores on which no other task runs.
    pub fn exclusive_cpus(self) -> Task {
        Task { exclusive_cpus: true, ..self }
    }

    /// Memory in MiB. A task that uses more is killed, unless [`Task::limit`] lets it.
    pub fn mem_mib(self, mib: u64) -> Task {
        self.scalar(Name::mem(), Milli::whole(mib))
    }

    /// Disk in MiB: the task fails when it has more than that in its sandbox, its output included. Without it there is no
    /// limit.
    pub fn disk_mib(self, mib: u64) -> Task {
        self.scalar(Name::disk(), Milli::whole(mib))
    }

    /// This many ports of the machine, the lowest ones that the offer has. The task finds them in `PORT0`, `PORT1` and so
    /// on of its environment, and the scheduler in [`Placed::ports`](crate::Placed::ports).
    pub fn ports(self, count: u64) -> Task {
        Task { ports: count, ..self }
    }

    /// All resources at once, in the place of those set before (but not of [`Task::ports`]). An entry that says only
    /// name and value is taken from what is reserved to the offer's role first; one that says more (a reservation, a
    /// volume) is taken as it is.
    pub fn resources(self, wanted: Resources) -> Task {
        Task { wanted, ..self }
    }

    /// Lets the task use up to this much where others leave it, in place of exactly what it asked for; `None` is without
    /// limit. Of cpus and mem only, and not less than it asked for. What it asked for stays its share of the cpus, and
    /// memory up to that is taken from it last.
    pub fn limit(mut self, name: Name, limit: Option<Milli>) -> Task {
        self.limits.insert(name, limit);
        self
    }

    /// How much of its limit of cpus it may save up while it does not use it, and use later on top of it, over one period
    /// of 100 ms: `Milli::new(500)` is 50 ms. Cut to the limit; without effect before Linux 5.14.
    pub fn cpu_burst(mut self, cpus: Milli) -> Task {
        self.controls.cpu_burst = cpus;
        self
    }

    /// Swap in MiB on top of its limit of memory; without it, none.
    pub fn swap_mib(mut self, mib: u64) -> Task {
        self.controls.swap = Milli::whole(mib);
        self
    }

    /// The most processes and threads at a time, within what its agent lets every task have. A fork beyond that fails.
    pub fn pids(mut self, most: Pids) -> Task {
        self.controls.pids = Some(most);
        self
    }

    /// Its share of the disks when they are busy; without one, 100. An agent whose kernel cannot share disks fails the
    /// task.
    pub fn io_weight(mut self, weight: IoWeight) -> Task {
        self.controls.io_weight = Some(weight);
        self
    }

    /// The most memory in huge pages of this size, in MiB. An agent that does not have such pages, or cannot limit them,
    /// fails the task.
    pub fn huge_pages_mib(mut self, size: PageSize, mib: u64) -> Task {
        self.controls.huge_pages.insert(size, Milli::whole(mib));
        self
    }

    /// How soon it goes when its whole machine is out of memory, the highest score first.
    pub fn oom_score(mut self, score: OomScore) -> Task {
        self.controls.oom_score = score;
        self
    }

    /// All that it asks of the kernel at once, from the burst to the score, in the place of what was set before.
    pub fn controls(self, controls: Controls) -> Task {
        Task { controls, ..self }
    }

    /// How to tell whether it is well. A task that is not, too often in a row, is killed.
    pub fn health(self, check: HealthCheck) -> Task {
        Task { health: Some(check), ..self }
    }

    /// How long a kill waits between SIGTERM and SIGKILL; without it, as the agent is configured.
    pub fn grace(self, grace: Duration) -> Task {
        Task { kill_policy: KillPolicy { grace: Some(grace) }, ..self }
    }

    /// A task that runs longer is killed and has failed.
    pub fn max_completion_time(self, time: Duration) -> Task {
        Task { max_completion_time: Some(time), ..self }
    }

    /// A label; carried and shown, never interpreted.
    pub fn label(mut self, key: impl AsRef<str>, value: Option<&str>) -> Task {
        self.labels.insert(key, value);
        self
    }

    fn scalar(mut self, name: Name, amount: Milli) -> Task {
        let key = ResourceKey::plain(name);
        let mut wanted: Resources = self.wanted.iter().filter(|have| have.key != key).cloned().collect();
        wanted.insert(Resource { key, value: ResourceValue::Scalar(amount) });
        self.wanted = wanted;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task::new(TaskId::new("t").expect("valid"))
    }

    #[test]
    fn a_value_set_again_replaces_the_first() {
        let task = task().cpus(Milli::whole(1)).mem_mib(64).cpus(Milli::new(500)).env("A", "1").env("A", "2");
        assert_eq!(task.wanted.to_string(), "cpus:0.5; mem:64");
        assert_eq!(task.command.environment, [("A".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_is_asked_of_the_kernel_is_said_one_by_one_or_at_once() {
        let size: PageSize = "2MiB".parse().expect("valid");
        let one_by_one = task()
            .cpu_burst(Milli::new(250))
            .swap_mib(16)
            .pids("20".parse().expect("valid"))
            .io_weight("200".parse().expect("valid"))
            .huge_pages_mib(size, 32)
            .huge_pages_mib(size, 64)
            .oom_score("300".parse().expect("valid"));
        let controls = Controls {
            cpu_burst: Milli::new(250),
            swap: Milli::whole(16),
            pids: Pids::new(20).ok(),
            io_weight: IoWeight::new(200).ok(),
            huge_pages: [(size, Milli::whole(64))].into(),
            oom_score: OomScore::new(300).expect("valid"),
        };
        assert_eq!(one_by_one, task().controls(controls));
    }

    #[test]
    fn a_task_may_have_a_network_and_users_of_its_own() {
        assert_eq!(task().namespaces, Namespaces::default());
        let both = Namespaces { network: Network::Loopback, users: Users::Own };
        assert_eq!(task().own_users().own_network().namespaces, both);
    }

    #[test]
    fn the_command_may_come_before_or_after_its_environment() {
        let one = task().command("true").env("A", "1").user("nobody");
        let two = task().env("A", "1").user("nobody").command("true");
        assert_eq!(one, two);
        assert_eq!(task().exec(["/bin/echo", "hi"]).command, Command::exec(["/bin/echo", "hi"]));
    }
}
