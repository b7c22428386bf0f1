//! What would change it soonest.

use bourse_types::{AgentId, Milli, Name, Role};

use crate::explain::{AgentVerdict, Obstacle};

/// What would remove an obstacle. In order of how much it takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fix {
    /// Wait, or revive.
    Revive { role: Role, left: String },
    /// The framework asked for no offers.
    Unsuppress(Role),
    /// Somebody holds it.
    Free { agent: AgentId, name: Name, amount: Milli },
    /// Nobody can give so much here.
    Lower { agent: AgentId, name: Name, to: Milli },
    /// An operator's decision.
    Reactivate(AgentId),
    /// The framework is not there.
    StartScheduler(String),
    /// Anything else, in words.
    Other(String),
    /// A machine is not there.
    BringBack(AgentId),
}

impl Fix {
    fn effort(&self) -> u32 {
        match self {
            Fix::Revive { .. } => 1,
            Fix::Unsuppress(_) => 2,
            Fix::Free { .. } => 10,
            Fix::Lower { .. } => 20,
            Fix::Reactivate(_) => 30,
            Fix::StartScheduler(_) => 40,
            Fix::Other(_) => 50,
            Fix::BringBack(_) => 100,
        }
    }

    fn words(&self) -> String {
        match self {
            Fix::Revive { role, left } => format!("wait {left}, or let the framework revive role {role}"),
            Fix::Unsuppress(role) => format!("let the framework revive role {role}"),
            Fix::Free { agent, .. } => {
                format!("free more on agent {agent}: end a task there, or have its offers answered")
            }
            Fix::Lower { agent, .. } => {
                format!("ask for less than agent {agent} has, or add a larger machine")
            }
            Fix::Reactivate(agent) => format!("end the drain of agent {agent}"),
            Fix::StartScheduler(name) => format!("start the scheduler of framework {name}"),
            Fix::Other(words) => words.clone(),
            Fix::BringBack(agent) => format!("bring agent {agent} back"),
        }
    }
}

/// How much it takes to remove all of these: the least first. How much is missing decides among equal ones.
pub(super) fn effort(obstacles: &[Obstacle]) -> (u32, u64) {
    let total = obstacles.iter().map(|obstacle| obstacle.fix.effort()).sum();
    let missing = obstacles.iter().map(|obstacle| match &obstacle.fix {
        Fix::Free { amount, .. } => amount.thousandths(),
        Fix::Lower { to, .. } => u64::MAX / 64 - to.thousandths().min(u64::MAX / 64),
        Fix::Revive { .. }
        | Fix::Unsuppress(_)
        | Fix::Reactivate(_)
        | Fix::StartScheduler(_)
        | Fix::Other(_)
        | Fix::BringBack(_) => 0,
    });
    (total, missing.fold(0, u64::saturating_add))
}

/// The least that would serve the request, as a sentence: all that stands in the way of the nearest agent.
pub(super) fn nearest(agents: &[AgentVerdict]) -> Option<String> {
    nearest_of(agents.iter())
}

pub(super) fn nearest_of<'a>(verdicts: impl Iterator<Item = &'a AgentVerdict>) -> Option<String> {
    let nearest = verdicts
        .filter(|verdict| !verdict.obstacles.is_empty())
        .min_by_key(|verdict| effort(&verdict.obstacles))?;
    let fixes: Vec<&Fix> = nearest.obstacles.iter().map(|obstacle| &obstacle.fix).collect();
    let mut words: Vec<String> = Vec::new();
    words.extend(free_together(&fixes));
    words.extend(lower_together(&fixes));
    let revived = fixes.iter().any(|fix| matches!(fix, Fix::Unsuppress(_)));
    for fix in fixes {
        let said = match fix {
            Fix::Free { .. } | Fix::Lower { .. } => continue,
            // Reviving the role ends its filters too.
            Fix::Revive { .. } if revived => continue,
            Fix::Revive { .. }
            | Fix::Unsuppress(_)
            | Fix::Reactivate(_)
            | Fix::StartScheduler(_)
            | Fix::Other(_)
            | Fix::BringBack(_) => fix.words(),
        };
        if !words.contains(&said) {
            words.push(said);
        }
    }
    Some(words.join("; and "))
}

/// All that is missing on the agent in one sentence.
fn free_together(fixes: &[&Fix]) -> Option<String> {
    let mut missing = Vec::new();
    let mut on = None;
    for fix in fixes {
        if let Fix::Free { agent, name, amount } = fix {
            on = Some(agent);
            missing.push(format!("{amount} more {name}"));
        }
    }
    let missing = missing.join(" and ");
    on.map(|agent| {
        format!(
            "free {missing} on agent {agent} (end a task there, or have its offers answered), or ask for less"
        )
    })
}

/// All that the machine never has in one sentence.
fn lower_together(fixes: &[&Fix]) -> Option<String> {
    let mut most = Vec::new();
    let mut of = None;
    for fix in fixes {
        if let Fix::Lower { agent, name, to } = fix {
            of = Some(agent);
            most.push(format!("{to} {name}"));
        }
    }
    let most = most.join(" and ");
    of.map(|agent| {
        format!("ask for no more than the {most} that agent {agent} can give, or add a larger machine")
    })
}
