//! What a session starts with, and the defaults that a framework should have.

use std::collections::BTreeSet;
use std::time::Duration;

use bourse_types::{AgentId, FrameworkInfo, Role, TaskId};

/// How long what nobody wanted is not offered again, unless the framework revives: long, since every offer that is
/// declined is work for nothing, and not so long that a scheduler which forgot to revive looks dead.
pub const DECLINE_FOR: Duration = Duration::from_secs(300);

/// How long the master waits for a framework's next life, unless the author says otherwise.
pub const FAILOVER_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a session starts with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the framework says about itself; with its id if it lived before.
    pub info: FrameworkInfo,
    /// Roles that want no offers at first.
    pub suppressed: BTreeSet<Role>,
    /// How long what is left of an accepted offer, and an offer that was let go, is not offered again.
    pub decline_for: Duration,
    /// Tasks of a former life that may be alive, to be reconciled by name.
    pub tasks: Vec<(TaskId, Option<AgentId>)>,
    /// Whether a framework that was torn down while it was away begins anew: without its id, with its state, and each of
    /// its tasks told as TASK_GONE. Otherwise the session ends.
    pub begin_anew: bool,
    /// For jitter and task ids. A live framework takes it from the system's random source at each start.
    pub seed: u64,
}

impl Config {
    /// With the defaults that a framework should have: its tasks survive its own restart for a week and the agents'
    /// restarts, and it hears the newer task states.
    pub fn new(name: &str, seed: u64) -> Config {
        let mut info = FrameworkInfo::new(name);
        info.roles = vec![Role::any()];
        info.failover_timeout = FAILOVER_TIMEOUT;
        info.checkpoint = true;
        info.capabilities.partition_aware = true;
        info.capabilities.task_killing = true;
        info.capabilities.multi_role = true;
        info.capabilities.reservation_refinement = true;
        Config {
            info,
            suppressed: BTreeSet::new(),
            decline_for: DECLINE_FOR,
            tasks: Vec::new(),
            begin_anew: false,
            seed,
        }
    }
}
