//! Why a request has not been served: agent by agent, each requirement that fails, with the figures, and the nearest
//! fix.
//!
//! The answer is made by asking the allocator's own rules of the state as it is, all of them and not only the first
//! that fails: somebody who lowers a request wants to know that a reservation stands in the way as well.

mod fix;
mod nearest;
mod obstacles;
mod tasks;

use std::collections::BTreeMap;

use bourse_types::units::format_count;
use bourse_types::{AgentId, FrameworkId, Resources, TaskId};

use crate::agents::Agent;
use crate::allocator::Unserved;
use crate::frameworks::Framework;
use crate::view::View;

use fix::Fix;
use nearest::Nearest;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Why a task is in its state.
    Task(FrameworkId, TaskId),
    /// Why a framework is not offered what it wants.
    Framework(FrameworkId),
    /// Why nothing of an agent is offered, and to whom it could be.
    Agent(AgentId),
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// `task`, `framework` or `agent`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// The answer in one sentence.
    pub summary: String,
    /// What would change it soonest, as a sentence. `None` when nothing is wanted, or nothing helps.
    pub nearest_fix: Option<String>,
    /// Agent by agent, in the order of ids: those that are nearest to serving the request.
    pub agents: Vec<AgentVerdict>,
    /// How many agents were looked at.
    pub agents_total: usize,
    /// For how many of those that are not in `agents` each reason stands in between.
    pub others: BTreeMap<&'static str, usize>,
    /// In how many passes the framework got nothing, by reason, since it subscribed.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What stands between a request and one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentVerdict {
    /// The agent.
    pub agent: AgentId,
    /// Its machine.
    pub hostname: String,
    /// Nothing stands in between.
    pub fits: bool,
    /// Each requirement that fails.
    pub obstacles: Vec<Obstacle>,
}

/// One requirement that fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// The reason.
    pub reason: Unserved,
    /// In words, with the figures.
    pub detail: String,
    /// What would remove it.
    pub(crate) fix: Fix,
}

impl View {
    /// Why it is as it is. `wanted` are the resources of the request in question, without reservations; without it a
    /// framework is asked about anything worth an offer. At most `most` agents are told one by one, at least 1. `None`:
    /// there is no such thing.
    pub fn explain(&self, subject: &Subject, wanted: Option<&Resources>, most: usize) -> Option<Explanation> {
        let wanted = wanted.map(Resources::flatten);
        match subject {
            Subject::Task(framework, task) => self.task(framework, task).map(|task| self.explain_task(task)),
            Subject::Framework(id) => {
                self.framework(id).map(|it| self.explain_framework(it, wanted.as_ref(), most))
            }
            Subject::Agent(id) => self.agent(id).map(|agent| self.explain_agent(agent, wanted.as_ref())),
        }
    }

    fn explain_framework(
        &self,
        framework: &Framework,
        wanted: Option<&Resources>,
        most: usize,
    ) -> Explanation {
        let mut looked_at = Nearest::new(most);
        for agent in self.agents() {
            looked_at.add(self.verdict_for(agent, framework, wanted));
        }
        looked_at.leave_the_nearest();
        let Nearest { agents, total, fitting, others, .. } = looked_at;
        let what = wanted.map_or_else(|| "an offer".to_owned(), |wanted| format!("a request for {wanted}"));
        let name = &framework.info.name;
        let held = framework.offers.len();
        // Asked about nothing in particular, who wants nothing lacks nothing.
        let content = wanted.is_none() && framework.wanted_roles().next().is_none();
        let summary = match (total, fitting) {
            (0, _) => format!("framework {name} is offered nothing: no agent has joined"),
            (_, 0) if held > 0 && wanted.is_none() => {
                format!("framework {name} holds {} and has yet to answer", format_count(held as u64, "offer"))
            }
            (_, 0) if content => format!("framework {name} wants no offers now: it suppressed its roles"),
            (1, 0) => format!("the only agent cannot serve {what} of framework {name} now"),
            (all, 0) => format!("none of {all} agents can serve {what} of framework {name} now"),
            (1, _) => format!("the only agent can serve {what} of framework {name} in the next pass"),
            (all, n) => format!("{n} of {all} agents can serve {what} of framework {name} in the next pass"),
        };
        let nearest_fix = match (total == 0, fitting) {
            (true, _) => Some("start an agent".to_owned()),
            (false, 0) if !content => fix::nearest(&agents),
            (false, _) => None,
        };
        Explanation {
            kind: "framework",
            id: framework.id.to_string(),
            summary,
            nearest_fix,
            agents,
            agents_total: total,
            others,
            counts: counts(framework),
        }
    }

    /// The verdict for the role in which the least stands in the way.
    fn verdict_for(&self, agent: &Agent, framework: &Framework, wanted: Option<&Resources>) -> AgentVerdict {
        let roles = framework.info.roles.iter();
        let each = roles.map(|role| self.obstacles(agent, framework, role, wanted));
        let obstacles = each.min_by_key(|obstacles| fix::effort(obstacles)).unwrap_or_default();
        AgentVerdict {
            agent: agent.id.clone(),
            hostname: agent.info.hostname.clone(),
            fits: obstacles.is_empty(),
            obstacles,
        }
    }

    fn explain_agent(&self, agent: &Agent, wanted: Option<&Resources>) -> Explanation {
        let available = agent.available();
        let verdicts: Vec<(&Framework, AgentVerdict)> = self
            .frameworks()
            .map(|framework| (framework, self.verdict_for(agent, framework, wanted)))
            .collect();
        let fitting = verdicts.iter().filter(|(_, verdict)| verdict.fits).count();
        let state = agent.word();
        let summary = match (state, fitting) {
            ("active", 0) if available.is_empty() => {
                format!(
                    "agent {} is active and has nothing free: {} is allocated, {} offered",
                    agent.id,
                    shown(&agent.allocated),
                    shown(&agent.offered)
                )
            }
            ("active", 0) => format!(
                "agent {} is active, and no framework may take, or wants, the {available} that is free on it",
                agent.id
            ),
            ("active", n) => {
                format!(
                    "agent {} is active and may be offered to {}",
                    agent.id,
                    format_count(n as u64, "framework")
                )
            }
            (state, _) => format!("agent {} is {state}; nothing of it is offered", agent.id),
        };
        let nearest_fix = match fitting {
            0 => fix::nearest_of(verdicts.iter().map(|(_, verdict)| verdict)),
            _ => None,
        };
        // One line for the agent: what stands in the way of each framework, each said once.
        let mut obstacles: Vec<Obstacle> = Vec::new();
        for (framework, verdict) in &verdicts {
            for obstacle in &verdict.obstacles {
                let about_agent = matches!(obstacle.reason, Unserved::AgentAway | Unserved::Draining);
                let detail = match about_agent {
                    true => obstacle.detail.clone(),
                    false => format!("framework {}: {}", framework.info.name, obstacle.detail),
                };
                if obstacles.iter().all(|known| known.detail != detail) {
                    obstacles.push(Obstacle { detail, ..obstacle.clone() });
                }
            }
        }
        let verdict = AgentVerdict {
            agent: agent.id.clone(),
            hostname: agent.info.hostname.clone(),
            fits: fitting > 0,
            obstacles,
        };
        Explanation {
            kind: "agent",
            id: agent.id.to_string(),
            summary,
            nearest_fix,
            agents: vec![verdict],
            agents_total: 1,
            others: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }
}

/// Passes by reason. Two reasons may have one word.
fn counts(framework: &Framework) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for (reason, count) in &framework.unserved {
        *counts.entry(reason.as_str()).or_default() += count;
    }
    counts
}

fn shown(resources: &Resources) -> String {
    if resources.is_empty() { "nothing".to_owned() } else { resources.to_string() }
}
