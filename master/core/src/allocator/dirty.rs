//! Agents that a pass shall look at, in an order that favours none.

use bourse_types::AgentId;
use imbl::OrdMap;

use crate::random::Random;

/// Agents marked since they were last looked at. Those of an earlier round come first; within a round the order is
/// drawn by lot when an agent is marked, so that no pass has to shuffle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    queue: OrdMap<(u64, u64), AgentId>,
    places: OrdMap<AgentId, (u64, u64)>,
    round: u64,
}

impl Dirty {
    /// Nothing is marked, and what will be is of this round.
    pub(crate) fn of_round(round: u64) -> Dirty {
        Dirty { round, ..Dirty::default() }
    }

    /// The round of what is marked now.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Rounds, lots and agents, in the order in which they are looked at.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64, &AgentId)> {
        self.queue.iter().map(|((round, lot), agent)| (*round, *lot, agent))
    }

    /// Marks an agent as it was marked before. Answers whether neither it nor its place was there.
    pub(crate) fn put(&mut self, round: u64, lot: u64, agent: AgentId) -> bool {
        let place = (round, lot);
        self.queue.insert(place, agent.clone()).is_none() && self.places.insert(agent, place).is_none()
    }

    /// A repeat changes nothing.
    pub(crate) fn mark(&mut self, agent: &AgentId, random: &mut Random) {
        if self.places.contains_key(agent) {
            return;
        }
        let mut place = (self.round, random.next());
        while self.queue.contains_key(&place) {
            place.1 = random.next();
        }
        self.places.insert(agent.clone(), place);
        self.queue.insert(place, agent.clone());
    }

    pub(crate) fn forget(&mut self, agent: &AgentId) {
        if let Some(place) = self.places.remove(agent) {
            self.queue.remove(&place);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes so many at most. What is marked from now on comes after what was marked before.
    pub(crate) fn take(&mut self, max: usize) -> Vec<AgentId> {
        let mut taken = Vec::new();
        while taken.len() < max.max(1) {
            let Some((place, agent)) = self.queue.get_min().cloned() else { break };
            self.queue.remove(&place);
            self.places.remove(&agent);
            taken.push(agent);
        }
        self.round += 1;
        taken
    }
}
