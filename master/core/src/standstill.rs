//! The master itself stood still: its process was stopped, its machine paused, its disk slow.
//!
//! Agents and schedulers spoke meanwhile and were not heard, so their silence is the master's fault. Judged by the clock
//! alone, the first tick after it would make every agent unreachable and tear down every framework that was away. As the
//! master has itself ticked every half heartbeat interval, also when nothing happens, it knows how long it was away.

use std::time::Duration;

use bourse_types::{AgentId, FrameworkId, Mono, Now};

use crate::agents::AgentState;
use crate::deadlines::Due;
use crate::frameworks::FrameworkState;
use crate::master::Master;
use crate::slots::Slot;

impl Master {
    /// When the master wants a tick though nothing is due.
    pub(crate) fn next_pulse(&self) -> Mono {
        // Without a pause it would be due again for ever.
        self.awake + (self.config.heartbeat_interval / 2).max(Duration::from_millis(100))
    }

    /// Takes note that the master is awake. When more than a heartbeat interval has passed since it last was, everybody
    /// has as long again to be heard or to come back.
    pub(crate) fn wake(&mut self, now: Now) {
        let away = now.mono.since(self.awake);
        self.awake = now.mono;
        if away > self.config.heartbeat_interval.max(Duration::from_millis(200)) {
            self.excuse_agents(away);
            self.excuse_frameworks(away);
        }
    }

    fn excuse_agents(&mut self, away: Duration) {
        let agents: Vec<(AgentId, Slot, AgentState)> =
            self.agents.with_slots().map(|(id, slot, agent)| (id.clone(), slot, agent.state)).collect();
        for (id, slot, state) in agents {
            match state {
                // Its entry among the deadlines finds the later time when it fires.
                AgentState::Active { .. } | AgentState::Disconnected { .. } => {
                    if let Some(heard) = self.heard.get_mut(&slot) {
                        heard.mono = heard.mono + away;
                    }
                }
                AgentState::Recovered { deadline } => {
                    self.agent_mut(&id).state = AgentState::Recovered { deadline: deadline + away };
                    self.move_deadline(deadline, away, Due::Agent(id));
                }
                AgentState::Unreachable { .. } => {}
            }
        }
    }

    fn excuse_frameworks(&mut self, away: Duration) {
        let ids: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for id in ids {
            match &mut self.framework_mut(&id).state {
                FrameworkState::Recovered { deadline } | FrameworkState::Disconnected { deadline, .. } => {
                    let before = std::mem::replace(deadline, *deadline + away);
                    self.move_deadline(before, away, Due::Framework(id));
                }
                FrameworkState::Active { .. } => {}
            }
        }
    }

    fn move_deadline(&mut self, before: Mono, later: Duration, due: Due) {
        self.deadlines.clear(before, due.clone());
        self.deadlines.set(before + later, due);
    }
}
