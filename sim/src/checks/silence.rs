//! Whom the master may take for unreachable: agents of which nothing has arrived for long, whatever the master did
//! meanwhile. What waits in the sockets of a master that stood still has arrived.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bourse_master_core::Config;
use bourse_types::{AgentId, Mono};

/// What arrived so short a time ago may not have been read: a master that stood still for less than a heartbeat cannot
/// tell, and one with a slow disk reads late.
const UNREAD: Duration = Duration::from_secs(20);

/// How much later than usual a heartbeat may arrive, and be told to the core.
const LATE: Duration = Duration::from_secs(5);

/// Who was heard is told to the core so often.
const LAST: Duration = Duration::from_secs(1);

/// By incarnation of the master, what arrived of each agent.
#[derive(Debug, Default)]
pub struct Silence(BTreeMap<(u64, AgentId), VecDeque<Mono>>);

impl Silence {
    /// A letter arrives.
    pub fn speaks(&mut self, life: u64, agent: &AgentId, world: Mono) {
        let arrived = self.0.entry((life, agent.clone())).or_default();
        arrived.push_back(world);
        while arrived.front().is_some_and(|first| world.since(*first) > Config::default().agent_timeout) {
            arrived.pop_front();
        }
    }

    /// A connection of the agent is closed. Its last letter may be read in the moment before, and does not count then.
    pub fn leaves(&mut self, life: u64, agent: &AgentId, world: Mono) {
        if let Some(arrived) = self.0.get_mut(&(life, agent.clone())) {
            arrived.retain(|at| world.since(*at) > LAST);
        }
    }

    /// The master takes the agent for unreachable.
    pub fn unreachable(&mut self, life: u64, agent: &AgentId, world: Mono, found: &mut Vec<String>) {
        let Config { agent_timeout, heartbeat_interval, .. } = Config::default();
        let arrived = self.0.get(&(life, agent.clone())).into_iter().flatten();
        let ago = arrived.map(|at| world.since(*at)).filter(|ago| *ago > UNREAD).min();
        let counts = agent_timeout - heartbeat_interval - LATE;
        if let Some(ago) = ago.filter(|ago| *ago < counts) {
            found.push(format!("agent {agent} is taken for unreachable, and was heard {ago:?} ago"));
        }
    }
}
