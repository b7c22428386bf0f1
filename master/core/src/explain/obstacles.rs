//! Every requirement that fails between a framework's role and an agent.

use bourse_types::units::format_rough;
use bourse_types::{Name, Quantities, Resources, Role};

use crate::agents::{Agent, AgentState};
use crate::allocator::Unserved;
use crate::explain::Obstacle;
use crate::explain::fix::Fix;
use crate::frameworks::{Framework, FrameworkState};
use crate::view::View;

impl View {
    /// What stands in the way of offering this agent to the framework for this role; empty when nothing does.
    pub(super) fn obstacles(
        &self,
        agent: &Agent,
        framework: &Framework,
        role: &Role,
        wanted: Option<&Resources>,
    ) -> Vec<Obstacle> {
        let mut found = Vec::new();
        found.extend(self.away(agent));
        found.extend(self.draining(agent));
        found.extend(inactive(framework));
        found.extend(suppressed(framework, role));
        let usable = self.master.usable(agent, &agent.info.total, framework);
        if let Some(obstacle) = capability(agent, framework, &usable) {
            found.push(obstacle);
            return found;
        }
        match wanted {
            Some(wanted) => self.shortage(agent, framework, role, &usable, wanted, &mut found),
            None => self.nothing_free(agent, framework, role, &usable, &mut found),
        }
        found.extend(self.filtered(agent, framework, role));
        found
    }

    fn away(&self, agent: &Agent) -> Option<Obstacle> {
        let since = match agent.state {
            AgentState::Active { .. } => return None,
            AgentState::Recovered { .. } => "since the restart of the master".to_owned(),
            AgentState::Disconnected { since } | AgentState::Unreachable { since } => {
                format!("for {}", format_rough(self.now.wall.since(since)))
            }
        };
        Some(Obstacle {
            reason: Unserved::AgentAway,
            detail: format!("the agent is {} {since}", agent.state.as_str()),
            fix: Fix::BringBack(agent.id.clone()),
        })
    }

    fn draining(&self, agent: &Agent) -> Option<Obstacle> {
        let drain = agent.drain?;
        Some(Obstacle {
            reason: Unserved::Draining,
            detail: format!("an operator drains the agent; tasks have until {}", drain.until()),
            fix: Fix::Reactivate(agent.id.clone()),
        })
    }

    /// Name by name: the machine is too small, what it has is reserved to others, or it is held.
    fn shortage(
        &self,
        agent: &Agent,
        framework: &Framework,
        role: &Role,
        usable: &Resources,
        wanted: &Resources,
        found: &mut Vec<Obstacle>,
    ) {
        let available = self.master.usable(agent, &agent.available(), framework);
        if available.find(wanted, role).is_some() {
            return;
        }
        let before = found.len();
        let (there, own, free) = (
            usable.quantities(),
            usable.allocatable_to(role).quantities(),
            available.allocatable_to(role).quantities(),
        );
        for (name, wants) in wanted.quantities().iter() {
            let [there, own, free] = [&there, &own, &free].map(|amounts| amounts.get(name.as_str()));
            if there < wants {
                found.push(Obstacle {
                    reason: Unserved::TooSmall,
                    detail: format!("wants {name}:{wants}, and the machine has {there} that it may use"),
                    fix: Fix::Lower { agent: agent.id.clone(), name: name.clone(), to: there },
                });
            } else if own < wants {
                found.push(Obstacle {
                    reason: Unserved::Reservation,
                    detail: format!(
                        "wants {name}:{wants}, and {} of {there} is reserved to other roles",
                        there.saturating_sub(own)
                    ),
                    fix: Fix::Lower { agent: agent.id.clone(), name: name.clone(), to: own },
                });
            } else if free < wants {
                found.push(Obstacle {
                    reason: Unserved::Held,
                    detail: format!(
                        "wants {name}:{wants}, and {free} is free: {}",
                        self.holders(agent, name)
                    ),
                    fix: Fix::Free {
                        agent: agent.id.clone(),
                        name: name.clone(),
                        amount: wants.saturating_sub(free),
                    },
                });
            }
        }
        // Enough by the figures, and still not there: certain ports, items or volumes are wanted.
        if found.len() == before {
            found.push(Obstacle {
                reason: Unserved::Held,
                detail: format!(
                    "wants exactly {wanted}, and some of it is not among the {available} that is free"
                ),
                fix: Fix::Other("ask for ports and items that are free, or for any".to_owned()),
            });
        }
    }

    fn nothing_free(
        &self,
        agent: &Agent,
        framework: &Framework,
        role: &Role,
        usable: &Resources,
        found: &mut Vec<Obstacle>,
    ) {
        if usable.allocatable_to(role).is_empty() {
            found.push(Obstacle {
                reason: Unserved::Reservation,
                detail: format!("all of the machine's {usable} is reserved to other roles"),
                fix: Fix::Other(format!("reserve something on agent {} to role {role}", agent.id)),
            });
            return;
        }
        let free = self.master.usable(agent, &agent.available(), framework).allocatable_to(role);
        if free.is_empty() {
            found.push(Obstacle {
                reason: Unserved::Held,
                detail: format!("nothing is free: {}", self.holders(agent, &Name::cpus())),
                fix: Fix::Other(format!("end a task on agent {}, or have its offers answered", agent.id)),
            });
        } else if !self.master.worth_offering(&free, framework, role) {
            let least =
                framework.info.min_allocatable.get(role).unwrap_or(&self.master.config.min_allocatable);
            let least: Vec<String> = least.iter().map(Quantities::to_string).collect();
            found.push(Obstacle {
                reason: Unserved::TooSmall,
                detail: format!("{free} is free, and an offer needs {}", least.join(" or ")),
                fix: Fix::Other(format!(
                    "end a task on agent {}, or lower min_allocatable_resources",
                    agent.id
                )),
            });
        } else if agent.offers.len() >= self.master.config.offers_per_agent_max {
            found.push(Obstacle {
                reason: Unserved::Held,
                detail: format!(
                    "{} offers of the agent are not answered, and no more are made",
                    agent.offers.len()
                ),
                fix: Fix::Other("let the frameworks that hold them accept or decline".to_owned()),
            });
        }
    }

    /// Who holds how much of this resource.
    fn holders(&self, agent: &Agent, name: &Name) -> String {
        let mut parts = Vec::new();
        let allocated = agent.allocated.quantities().get(name.as_str());
        if !allocated.is_zero() {
            parts.push(format!("{allocated} {name} allocated to tasks"));
        }
        for offer in agent.offers.iter().filter_map(|id| self.offer(id)) {
            let offered = offer.resources.quantities().get(name.as_str());
            if !offered.is_zero() {
                let holder = self
                    .framework(&offer.framework)
                    .map_or_else(|| offer.framework.to_string(), |f| f.info.name.clone());
                let age = format_rough(self.now.wall.since(offer.made));
                parts.push(format!("{offered} {name} offered to {holder} for {age}"));
            }
        }
        if parts.is_empty() { format!("the machine has no {name} left to give") } else { parts.join(", ") }
    }

    fn filtered(&self, agent: &Agent, framework: &Framework, role: &Role) -> Option<Obstacle> {
        let free = self.master.usable(agent, &agent.available(), framework).allocatable_to(role);
        if free.is_empty() {
            return None;
        }
        let until = framework.refuses(role, agent, &free, self.now.mono)?;
        let left = format_rough(until.since(self.now.mono));
        Some(Obstacle {
            reason: Unserved::Filter,
            detail: format!("the framework declined the {free} that is free, for another {left}"),
            fix: Fix::Revive { role: role.clone(), left },
        })
    }
}

fn inactive(framework: &Framework) -> Option<Obstacle> {
    match framework.state {
        FrameworkState::Active { .. } => None,
        FrameworkState::Recovered { .. } | FrameworkState::Disconnected { .. } => Some(Obstacle {
            reason: Unserved::Inactive,
            detail: format!("the framework's scheduler is not connected: it is {}", framework.state.as_str()),
            fix: Fix::StartScheduler(framework.info.name.clone()),
        }),
    }
}

fn suppressed(framework: &Framework, role: &Role) -> Option<Obstacle> {
    framework.suppressed.contains(role).then(|| Obstacle {
        reason: Unserved::Suppressed,
        detail: format!("the framework suppressed role {role}: it asked for no offers"),
        fix: Fix::Unsuppress(role.clone()),
    })
}

fn capability(agent: &Agent, framework: &Framework, usable: &Resources) -> Option<Obstacle> {
    if !usable.is_empty() || agent.info.total.is_empty() {
        return None;
    }
    let gpus = agent.info.total.gpus();
    let (detail, missing) = match gpus.is_zero() {
        false => (
            format!("the machine has {gpus} gpus and is kept for frameworks that can use them"),
            "GPU_RESOURCES",
        ),
        true => (
            format!("all of the machine's {} may be taken back or is shared", agent.info.total),
            "REVOCABLE_RESOURCES or SHARED_RESOURCES",
        ),
    };
    let name = &framework.info.name;
    Some(Obstacle {
        reason: Unserved::Capability,
        detail,
        fix: Fix::Other(format!("subscribe framework {name} with the capability {missing}")),
    })
}
