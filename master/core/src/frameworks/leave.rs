//! A scheduler goes away, and a framework ends.

use std::collections::BTreeSet;

use bourse_types::{AgentId, FrameworkId, Now, Principal, Reason, TaskId, TaskState};

use crate::deadlines::Due;
use crate::effect::{Done, Effect, Effects, Refused, ToAgent};
use crate::event::StreamId;
use crate::frameworks::FrameworkState;
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::{Absence, Change};
use crate::tasks::Fate;

impl Master {
    /// A stream broke. Stale when the framework has a newer one; a repeat changes nothing.
    ///
    /// Its offers are taken back. From now on its failover timeout runs; with none it is torn down at once.
    pub(crate) fn on_stream_closed(
        &mut self,
        now: Now,
        id: &FrameworkId,
        stream: StreamId,
        out: &mut Effects,
    ) {
        let Some(framework) =
            self.frameworks.get(id).filter(|framework| framework.state.stream() == Some(stream))
        else {
            return;
        };
        let left = framework.info.failover_timeout;
        if left.is_zero() {
            let why = "its scheduler disconnected, and its failover timeout is 0";
            return self.remove_framework(now, id, why, None, out);
        }
        out.push(Effect::Persist(Change::FrameworkDisconnected { id: id.clone(), left, at: now.wall }));
        let deadline = now.mono + left;
        self.deadlines.set(deadline, Due::Framework(id.clone()));
        self.take_back_offers_of_framework(id);
        let framework = self.framework_mut(id);
        framework.state = FrameworkState::Disconnected { since: now.wall, deadline };
        framework.absence = Some(Absence { left, at: now.wall });
        let summary =
            format!("framework {id} disconnected; it is torn down unless it is back within {left:?}");
        out.push(Effect::Record(Entry::new(Kind::Framework, summary).framework(id)));
    }

    /// A framework's deadline is due. Changes nothing when it is back, or has a later one.
    pub(crate) fn on_framework_due(&mut self, now: Now, id: &FrameworkId, out: &mut Effects) {
        let deadline = self.frameworks.get(id).and_then(|framework| framework.state.deadline());
        if deadline.is_some_and(|deadline| deadline <= now.mono) {
            self.remove_framework(now, id, "its scheduler did not come back in time", None, out);
        }
    }

    /// An operator ends a framework. A repeat is answered the same.
    pub(crate) fn on_teardown(
        &mut self,
        now: Now,
        id: &FrameworkId,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) -> Result<Done, Refused> {
        if !self.removed.contains(id) {
            self.frameworks.get(id).ok_or_else(|| no_such_framework(id))?;
            self.remove_framework(now, id, "an operator tore it down", principal, out);
        }
        Ok(Done::TornDown { framework: id.clone() })
    }

    /// The end of a framework: its offers are taken back, its tasks are killed, its id is refused from now on.
    ///
    /// An agent that is away hears of it when it comes back.
    pub(crate) fn remove_framework(
        &mut self,
        now: Now,
        id: &FrameworkId,
        why: &str,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get(id) else { return };
        out.push(Effect::Persist(Change::FrameworkRemoved { id: id.clone(), at: now.wall }));
        let (state, name) = (framework.state, framework.info.name.clone());
        if let Some(stream) = state.stream() {
            out.push(Effect::CloseStream { stream, error: "Framework has been removed".to_owned() });
        }
        if let Some(deadline) = state.deadline() {
            self.deadlines.clear(deadline, Due::Framework(id.clone()));
        }
        self.take_back_offers_of_framework(id);
        self.forget_refusals(id, None);
        self.end_tasks_of_framework(now, id, out);

        let framework = self.frameworks.remove(id).expect("it was found above");
        self.forget_all_ended(&framework);
        self.completed.push_back(framework);
        while self.completed.len() > self.config.completed_frameworks_max {
            self.completed.pop_front();
        }
        self.removed.put(id.clone(), now.wall);
        self.removed.forget_beyond(crate::registry::REMOVED_FRAMEWORKS_MAX);
        let entry = Entry::new(Kind::Framework, format!("framework {id} ({name}) was torn down: {why}"));
        out.push(Effect::Record(entry.framework(id).principal(principal).reason(Reason::FrameworkRemoved)));
    }

    /// Its tasks are killed as far as the framework's record goes; the agents do it.
    fn end_tasks_of_framework(&mut self, now: Now, id: &FrameworkId, out: &mut Effects) {
        let fate = Fate {
            state: TaskState::Killed,
            reason: Reason::FrameworkRemoved,
            message: format!("framework {id} was torn down"),
            since: None,
        };
        let record = self.frameworks.get(id).expect("the caller has just found it");
        let hosts: BTreeSet<AgentId> = record.tasks.values().map(|task| task.agent.clone()).collect();
        let live: Vec<TaskId> = record.tasks.keys().cloned().collect();
        let unreachable: Vec<TaskId> = record.unreachable.keys().cloned().collect();
        for task in live {
            self.take_off_agent(now, id, &task, &fate, out);
        }
        for task in unreachable {
            self.end_unreachable(now, id, &task, &fate, out);
        }
        for host in hosts {
            self.command(&host, ToAgent::ShutdownFramework { framework: id.clone() }, out);
        }
    }
}

/// The refusal of a command about a framework that is not in the table.
pub(crate) fn no_such_framework(id: &FrameworkId) -> Refused {
    Refused::NotFound(format!("there is no framework {id}; list them with `bourse frameworks`"))
}
