//! Draining an agent: no more offers, its frameworks hear the deadline at once, what still runs then is killed.
//!
//! A drain is data on the agent's record, and survives a restart of the master. An agent that is away is drained when
//! it is back.

use std::collections::BTreeSet;
use std::time::Duration;

use bourse_types::units::format_count;
use bourse_types::{AgentId, FrameworkId, KillPolicy, Now, Principal, TaskId};

use crate::agents::{Drain, DrainPhase, no_such_agent};
use crate::deadlines::Due;
use crate::effect::{Done, Effect, Effects, Refused, ToScheduler};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::Change;
use crate::tasks::{DRAINING, KillOrder};

/// The longest grace of a task that is killed by a drain, whatever its own is. An operator who gave a deadline waits for
/// the machine, and a task may ask for a day: five minutes are enough for a database to write down what it holds.
const GRACE_MAX: Duration = Duration::from_secs(300);

impl Master {
    /// An operator drains an agent. Its offers are rescinded; frameworks with tasks on it hear when those are killed.
    /// With a deadline of zero they are told to end at once, each with its own grace, but five minutes at most. A repeat
    /// sets a new deadline.
    pub(crate) fn on_drain(
        &mut self,
        now: Now,
        id: &AgentId,
        left: Duration,
        mark_gone: bool,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) -> Result<Done, Refused> {
        let agent = self.agents.get(id).ok_or_else(|| match self.gone.contains_key(id) {
            true => Refused::Conflict(format!("agent {id} was marked gone; there is nothing left to drain")),
            false => no_such_agent(id),
        })?;
        let tasks = agent.tasks.len();
        let frameworks: BTreeSet<FrameworkId> =
            agent.tasks.iter().map(|(framework, _)| framework.clone()).collect();
        out.push(Effect::Persist(Change::DrainStarted { agent: id.clone(), left, at: now.wall, mark_gone }));
        let drain = Drain {
            phase: DrainPhase::Waiting { deadline: now.mono + left },
            left,
            started: now.wall,
            mark_gone,
        };
        self.start_drain_timer(id, &drain);
        self.agent_mut(id).drain = Some(drain);
        self.rescind_offers_of_agent(id, "its agent is drained", out);
        for framework in frameworks {
            self.tell(
                &framework,
                ToScheduler::AgentDraining { agent: id.clone(), deadline: drain.until() },
                out,
            );
        }
        let until = drain.until();
        let left = match tasks {
            0 => "it has no tasks".to_owned(),
            1 => format!("1 task has until {until}"),
            n => format!("{} have until {until}", format_count(n as u64, "task")),
        };
        let summary = format!("agent {id} is being drained; {left}");
        out.push(Effect::Record(Entry::new(Kind::Operator, summary).agent(id).principal(principal)));
        self.on_drain_due(now, id, out);
        self.emptied.insert(id.clone());
        Ok(Done::Draining { agent: id.clone(), deadline: drain.until(), tasks })
    }

    fn tell_draining(&self, framework: &FrameworkId, id: &AgentId, out: &mut Effects) {
        let drain = self
            .agents
            .get(id)
            .and_then(|agent| agent.drain)
            .filter(|drain| drain.phase != DrainPhase::Drained);
        if let Some(drain) = drain {
            self.tell(
                framework,
                ToScheduler::AgentDraining { agent: id.clone(), deadline: drain.until() },
                out,
            );
        }
    }

    /// A scheduler that is back hears of the drains that concern it, as it may have missed them.
    pub(crate) fn repeat_drains(&self, framework: &FrameworkId, out: &mut Effects) {
        let record = self.frameworks.get(framework).expect("it has just subscribed");
        let agents: BTreeSet<&AgentId> = record.tasks.values().map(|task| &task.agent).collect();
        for id in agents {
            self.tell_draining(framework, id, out);
        }
    }

    pub(crate) fn start_drain_timer(&mut self, id: &AgentId, drain: &Drain) {
        if let DrainPhase::Waiting { deadline } = drain.phase {
            self.deadlines.set(deadline, Due::Drain(id.clone()));
        }
    }

    /// What still runs on the agent is killed, if the deadline has come.
    pub(crate) fn on_drain_due(&mut self, now: Now, id: &AgentId, out: &mut Effects) {
        let Some(drain) = self.agents.get_mut(id).and_then(|agent| agent.drain.as_mut()) else { return };
        match drain.phase {
            DrainPhase::Waiting { deadline } if deadline <= now.mono => drain.phase = DrainPhase::Killing,
            DrainPhase::Waiting { .. } | DrainPhase::Killing | DrainPhase::Drained => return,
        }
        self.kill_drained(id, out);
    }

    /// An agent that is being emptied is back: what came with it has to go too.
    pub(crate) fn drain_on_return(&mut self, now: Now, id: &AgentId, out: &mut Effects) {
        let Some(drain) = self.agents.get(id).and_then(|agent| agent.drain) else { return };
        let tasks = self.agents.get(id).into_iter().flat_map(|agent| agent.tasks.iter());
        let frameworks: BTreeSet<FrameworkId> = tasks.map(|(framework, _)| framework.clone()).collect();
        for framework in frameworks {
            self.tell_draining(&framework, id, out);
        }
        match drain.phase {
            DrainPhase::Waiting { .. } => self.on_drain_due(now, id, out),
            DrainPhase::Killing => self.kill_drained(id, out),
            DrainPhase::Drained => {}
        }
        self.emptied.insert(id.clone());
    }

    /// Tells every task that was not told yet to end. A kill of the framework's own keeps its policy. The grace is capped:
    /// else a task could hold up the drain for as long as it likes.
    fn kill_drained(&mut self, id: &AgentId, out: &mut Effects) {
        let tasks: Vec<(FrameworkId, TaskId)> =
            self.agents.get(id).into_iter().flat_map(|a| a.tasks.iter().cloned()).collect();
        for (framework, task) in tasks {
            let record = self.task(&framework, &task).expect("what stands on an agent is in the table");
            let asked = record.kill.as_ref().and_then(|order| order.policy);
            let own = asked.and_then(|policy| policy.grace).or(record.info.kill_policy.grace);
            let policy = match own {
                Some(grace) if grace > GRACE_MAX => Some(KillPolicy { grace: Some(GRACE_MAX) }),
                Some(_) | None => asked,
            };
            if !record.state.is_terminal()
                && record.kill.as_ref().is_none_or(|order| order.reason != DRAINING.reason)
            {
                self.order_kill(&framework, &task, KillOrder { policy, ..DRAINING }, out);
            }
        }
    }

    /// Agents on which the event left nothing: a drain of theirs is over. Upkeep after each event.
    pub(crate) fn settle_drains(&mut self, now: Now, out: &mut Effects) {
        for id in std::mem::take(&mut self.emptied) {
            let Some(agent) =
                self.agents.get(&id).filter(|agent| agent.tasks.is_empty() && agent.link().is_some())
            else {
                continue;
            };
            let Some(drain) = agent.drain.filter(|drain| drain.phase != DrainPhase::Drained) else {
                continue;
            };
            out.push(Effect::Persist(Change::Drained { agent: id.clone() }));
            self.agent_mut(&id).drain = Some(Drain { phase: DrainPhase::Drained, ..drain });
            let summary = format!("agent {id} is drained: nothing is left on it");
            out.push(Effect::Record(Entry::new(Kind::Agent, summary).agent(&id)));
            if drain.mark_gone {
                self.mark_gone(now, &id, None, out);
            }
        }
    }

    /// Whether the agent is drained to be marked gone: its killed tasks are gone, for those who know the word.
    pub(crate) fn drains_to_gone(&self, id: &AgentId) -> bool {
        self.agents.get(id).and_then(|agent| agent.drain).is_some_and(|drain| drain.mark_gone)
    }

    /// An operator lets an agent be offered again. Tasks that were told to end do so nevertheless.
    pub(crate) fn on_reactivate(
        &mut self,
        id: &AgentId,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) -> Result<Done, Refused> {
        let agent = self.agents.get(id).ok_or_else(|| no_such_agent(id))?;
        if agent.drain.is_none() {
            return Err(Refused::Conflict(format!(
                "agent {id} is not being drained; there is nothing to reactivate"
            )));
        }
        out.push(Effect::Persist(Change::DrainEnded { agent: id.clone() }));
        self.agent_mut(id).drain = None;
        self.mark_dirty(id);
        let entry = Entry::new(Kind::Operator, format!("agent {id} is offered again")).agent(id);
        out.push(Effect::Record(entry.principal(principal)));
        Ok(Done::Reactivated { agent: id.clone() })
    }
}

impl Drain {
    /// A drain from the registry. What was left of the deadline goes on from where it was, by the wall clock.
    pub(crate) fn recovered(known: crate::registry::KnownDrain, now: Now) -> Drain {
        let left = known.left.saturating_sub(now.wall.since(known.at));
        let phase = match known.drained {
            true => DrainPhase::Drained,
            false => DrainPhase::Waiting { deadline: now.mono + left },
        };
        Drain { phase, left: known.left, started: known.at, mark_gone: known.mark_gone }
    }
}
