//! What an operator may choose about the core, each with its unit and the reason for its default.

use std::time::Duration;

use bourse_types::{Milli, Name, Quantities};

/// Agents of a master that is away are back within this time of the next one's start, as long as they are not too many.
const RECONNECT: Duration = Duration::from_secs(2);

/// The core's configuration. Constant while the master lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Between two heartbeats, on agents' links and schedulers' streams alike. 15 s, as Mesos clients expect.
    pub heartbeat_interval: Duration,
    /// Above so many agents a second the interval that agents are told grows instead: a ceiling on the rate.
    pub heartbeats_per_second_max: u32,
    /// While there is no master, each agent tries to reach one within 2 s. Above so many agents a second they are told to
    /// take longer: a ceiling on the connections that the master's machine has to refuse.
    pub reconnects_per_second_max: u32,
    /// An agent that was not heard for so long is unreachable: five missed heartbeats, as in Mesos.
    pub agent_timeout: Duration,
    /// After a restart of the master: an agent that is not back by then is unreachable, and a framework that was
    /// connected is given at least as long. 10 minutes, as in Mesos: a whole cluster reconnects at once.
    pub reregister_timeout: Duration,
    /// After a restart of the master a framework that was away before is given at least as long (or its whole
    /// failover timeout, when that is shorter): it could not come back while there was no master.
    pub return_grace: Duration,
    /// An offer that was not answered for so long is rescinded. `None`: never, as Mesos' default, which lets one
    /// framework that hangs hold the cluster.
    pub offer_timeout: Option<Duration>,
    /// Two passes of the allocator are at least so far apart: what comes free in between is offered together, in
    /// larger pieces. Below 50 ms, so that a freed resource is offered again within that.
    pub allocation_pause: Duration,
    /// A pass looks at so many agents at most, then lets events in.
    pub allocation_slice: usize,
    /// The shortest filter, also for `refuse_seconds` 0: a framework that declines at once must not turn an idle
    /// cluster into a storm of offers. Mesos' least is its allocation interval, 1 s.
    pub filter_min: Duration,
    /// The longest filter: 365 days, as in Mesos.
    pub filter_max: Duration,
    /// Outstanding offers of one agent. With as many, what comes free on it waits until one is answered: bounds
    /// what a framework that never answers can pile up.
    pub offers_per_agent_max: usize,
    /// What is less than each of these is a crumb and is not offered, unless a framework says otherwise for a role.
    /// 0.01 cpus or 32 MiB of memory, as in Mesos. Empty: everything is offered.
    pub min_allocatable: Vec<Quantities>,
    /// Whether agents with GPUs are kept for frameworks that can use them.
    pub filter_gpu_resources: bool,
    /// Ended tasks kept for each framework, for people. 1,000, as in Mesos.
    pub completed_tasks_max: usize,
    /// Unreachable tasks kept for each framework. 1,000, as in Mesos.
    pub unreachable_tasks_max: usize,
    /// Frameworks that were torn down, kept with their tasks, for people. 50, as in Mesos.
    pub completed_frameworks_max: usize,
    /// The last statuses kept of each task, for people.
    pub statuses_max: usize,
    /// Unreachable and gone agents are forgotten after so long. Two weeks, as in Mesos.
    pub forget_after: Duration,
    /// Unreachable and gone agents beyond so many are forgotten, the oldest first. 102,400, as in Mesos.
    pub forgotten_beyond: usize,
    /// How often it is looked for what to forget. 15 minutes, as in Mesos.
    pub forget_interval: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_interval: Duration::from_secs(15),
            heartbeats_per_second_max: 5_000,
            reconnects_per_second_max: 25_000,
            agent_timeout: Duration::from_secs(75),
            reregister_timeout: Duration::from_secs(600),
            return_grace: Duration::from_secs(60),
            offer_timeout: Some(Duration::from_secs(120)),
            allocation_pause: Duration::from_millis(20),
            allocation_slice: 256,
            filter_min: Duration::from_millis(250),
            filter_max: Duration::from_secs(365 * 24 * 3600),
            offers_per_agent_max: 64,
            min_allocatable: vec![
                Quantities::from_iter([(Name::cpus(), Milli::new(10))]),
                Quantities::from_iter([(Name::mem(), Milli::whole(32))]),
            ],
            filter_gpu_resources: true,
            completed_tasks_max: 1_000,
            unreachable_tasks_max: 1_000,
            completed_frameworks_max: 50,
            statuses_max: 10,
            forget_after: Duration::from_secs(14 * 24 * 3600),
            forgotten_beyond: 102_400,
            forget_interval: Duration::from_secs(15 * 60),
        }
    }
}

impl Config {
    /// The interval that agents are told when there are so many of them.
    pub(crate) fn agent_heartbeat(&self, agents: usize) -> Duration {
        let spread =
            Duration::from_secs_f64(agents as f64 / f64::from(self.heartbeats_per_second_max.max(1)));
        self.heartbeat_interval.max(spread)
    }

    /// Within which time agents shall try again where nobody listens in the master's place, when there are so many of
    /// them. Each waits for half of it at least.
    pub(crate) fn agent_reconnect(&self, agents: usize) -> Duration {
        let spread =
            Duration::from_secs_f64(agents as f64 / f64::from(self.reconnects_per_second_max.max(1)));
        RECONNECT.max(spread)
    }

    /// How long an agent may be silent when there are so many of them: never less than five of their heartbeats.
    pub(crate) fn agent_silence(&self, agents: usize) -> Duration {
        self.agent_timeout.max(self.agent_heartbeat(agents) * 5)
    }
}
