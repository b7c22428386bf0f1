//! The agents that are nearest to serving a request, of any number of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::explain::{AgentVerdict, fix};

/// Verdicts as they come, in the order of agents. At most twice as many are kept at a time as are wanted in the end, so
/// that a question about a large cluster costs no more memory than one about a small one.
pub(super) struct Nearest {
    /// How many are wanted.
    most: usize,
    /// Those that are kept.
    pub(super) agents: Vec<AgentVerdict>,
    /// How many came.
    pub(super) total: usize,
    /// How many of all fit.
    pub(super) fitting: usize,
    /// What stands in the way of those that are not kept.
    pub(super) others: BTreeMap<&'static str, usize>,
}

impl Nearest {
    /// Wants at most so many, and at least one.
    pub(super) fn new(most: usize) -> Nearest {
        Nearest { most: most.max(1), agents: Vec::new(), total: 0, fitting: 0, others: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, verdict: AgentVerdict) {
        self.total += 1;
        self.fitting += usize::from(verdict.fits);
        self.agents.push(verdict);
        if self.agents.len() >= self.most.saturating_mul(2) {
            self.leave_the_nearest();
        }
    }

    /// Leaves those of which the least stands in the way, of equal ones the first, in the order of agents.
    pub(super) fn leave_the_nearest(&mut self) {
        if self.agents.len() <= self.most {
            return;
        }
        self.agents.sort_by_cached_key(|verdict| fix::effort(&verdict.obstacles));
        for verdict in self.agents.drain(self.most..) {
            let reasons = verdict.obstacles.iter().map(|obstacle| obstacle.reason.as_str());
            for reason in reasons.collect::<BTreeSet<_>>() {
                *self.others.entry(reason).or_default() += 1;
            }
        }
        self.agents.sort_by(|one, other| one.agent.cmp(&other.agent));
    }
}
