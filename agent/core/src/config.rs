//! What an operator or a test may set of the core's rules, each with its unit and its reason.

use std::time::Duration;

use bourse_types::{AgentInfo, Resources};

use crate::cores::Cores;

/// The settings of one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the agent tells about itself when it registers.
    pub info: AgentInfo,
    /// What it really has by now, where that is less than `info` tells for the sake of tasks that run
    /// ([`State::settle`](crate::State::settle)): told when none does any more. `None`: `info` is right.
    pub total_without_tasks: Option<Resources>,
    /// The cores that the agent and its tasks may run on. Empty: no task can have some for itself, and one that has is ended
    /// when the agent starts.
    pub cores: Cores,
    /// Between SIGTERM and SIGKILL for a task without a kill policy. Mesos' `executor_shutdown_grace_period`.
    pub kill_grace: Duration,
    /// A task whose sandbox holds more than the disk that it asked for is ended. Mesos' `enforce_container_disk_quota`.
    pub enforce_disk: bool,
    /// An update that was not acknowledged is sent again after this long, then after twice as long, and so on.
    pub retry_first: Duration,
    /// The longest wait between two sendings of one update.
    pub retry_max: Duration,
    /// The first wait after a lost or refused link is a random part of this; each further one doubles it. An agent that
    /// no master has admitted since it started begins with 100 ms, or this if it is less.
    pub backoff_first: Duration,
    /// The longest wait between two attempts to reach the master.
    pub backoff_max: Duration,
    /// Where nobody listens in the master's place, the longest wait between two attempts, unless the master that admitted
    /// the agent last named another: there is nobody who could be overrun.
    pub reconnect_refused: Duration,
    /// A link that is not open, or a registration that is not answered, by then is given up.
    pub register_timeout: Duration,
    /// After so many heartbeat intervals without a word from the master the link is given up. At least 1.
    pub missed_heartbeats: u32,
    /// A container that is still there after everything in it was killed is killed again at this interval.
    pub kill_again: Duration,
    /// How long a stopping agent waits for acknowledgements once its last container has ended.
    pub stop_flush: Duration,
}

impl Config {
    /// Mesos' numbers; unlike there, the disk of tasks is enforced.
    pub fn new(info: AgentInfo) -> Config {
        Config {
            info,
            total_without_tasks: None,
            cores: Cores::new(),
            kill_grace: Duration::from_secs(5),
            enforce_disk: true,
            retry_first: Duration::from_secs(10),
            retry_max: Duration::from_secs(600),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            reconnect_refused: Duration::from_secs(2),
            register_timeout: Duration::from_secs(30),
            missed_heartbeats: 5,
            kill_again: Duration::from_secs(5),
            stop_flush: Duration::from_secs(1),
        }
    }
}
