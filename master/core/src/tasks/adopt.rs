//! An agent tells what it runs: the master's table follows it, as the agent is the one that knows.

use std::collections::BTreeSet;

use bourse_types::{AgentId, FrameworkId, Now, Reason, Source, TaskId, TaskState, TaskStatus};

use crate::effect::{Effect, Effects, ToAgent};
use crate::event::TaskReport;
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::tasks::{Fate, Task};

/// Which tasks of a returning agent their frameworks may have given up, so that they hear that these are back.
///
/// What was told of a task is only remembered by the master that told it, and not of all tasks for ever. Who hears once
/// too often that a task runs loses nothing; who was told that it is lost and hears nothing lets it run on unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Those that this master knows to be unreachable.
    Known,
    /// Also those of frameworks that do not checkpoint: they were told as lost when the link broke, and of many this
    /// master does not remember all.
    Unkept,
    /// The same where the link may have broken under an earlier master, or not at all.
    MaybeUnkept,
    /// Every one.
    All,
}

impl Master {
    /// Takes over what a registering agent tells about its tasks. Answers what is to be said to the agent after it
    /// was told that it is registered.
    ///
    /// Tasks of frameworks that were torn down, or that nobody knows, are shut down. Known ones take the newest state.
    /// Ones that were unreachable are back, or gone when the agent does not tell of them, and their framework hears of
    /// it.
    pub(crate) fn adopt_tasks(
        &mut self,
        now: Now,
        agent: &AgentId,
        given_up: GivenUp,
        reports: Vec<TaskReport>,
        out: &mut Effects,
    ) -> Vec<ToAgent> {
        let mut orders = Vec::new();
        let held_before = self.agents.get(agent).expect("it has just registered").allocated.clone();
        let reported: BTreeSet<(FrameworkId, TaskId)> =
            reports.iter().map(|report| (report.framework.clone(), report.task.id.clone())).collect();
        for report in reports {
            let (framework, id) = (report.framework.clone(), report.task.id.clone());
            if !self.frameworks.contains(&framework) {
                let shutdown = ToAgent::ShutdownFramework { framework };
                if !orders.contains(&shutdown) {
                    orders.push(shutdown);
                }
                continue;
            }
            match self.task(&framework, &id) {
                Some(known) if known.agent == *agent => {
                    self.move_task(now, &framework, &id, &report.latest, out);
                    self.adopt_size(&report, out);
                }
                // The id was given again while this agent was away, or the agent lies: only one of the two may go on.
                Some(_) => orders.push(ToAgent::Kill { framework, task: id, policy: None, reason: None }),
                None if self.has_completed(&framework, &id, agent, report.latest.state) => {}
                // The other one may come back. Were it forgotten for this one, any agent could take over what is unreachable.
                None if self.is_unreachable_elsewhere(&framework, &id, agent) => {
                    orders.push(ToAgent::Kill { framework, task: id, policy: None, reason: None });
                }
                None => self.adopt_task(now, agent, given_up, report, out),
            }
        }
        self.end_missing(now, agent, out);
        self.end_untold(now, agent, &reported, out);
        // What came with the agent may be in offers that were made without knowing of it.
        if self.agents.get(agent).is_some_and(|record| record.allocated != held_before) {
            self.rescind_offers_of_agent(agent, "its agent came back with tasks", out);
        }
        orders
    }

    /// Tasks that have ended, as the agent told before, and of which it knows nothing any more: its machine lost power.
    /// The update that was to tell the end to the framework never comes, so the master tells it.
    fn end_untold(
        &mut self,
        now: Now,
        agent: &AgentId,
        reported: &BTreeSet<(FrameworkId, TaskId)>,
        out: &mut Effects,
    ) {
        let tasks = self.agents.get(agent).expect("it has just registered").tasks.clone();
        for (framework, id) in tasks.into_iter().filter(|key| !reported.contains(key)) {
            let task = self.task(&framework, &id).expect("what stands on an agent is in the table");
            if !task.state.is_terminal() {
                continue;
            }
            let status = TaskStatus {
                reason: Some(Reason::AgentReregistered),
                message: Some(format!("agent {agent} is back and has forgotten the task")),
                exit: task
                    .statuses
                    .iter()
                    .rev()
                    .find(|told| told.state == task.state)
                    .and_then(|told| told.exit),
                agent_id: Some(agent.clone()),
                ..TaskStatus::new(id.clone(), task.state, Source::Master, now.wall)
            };
            let statuses_max = self.config.statuses_max;
            self.task_mut(&framework, &id).remember(&status, statuses_max);
            self.tell_status(&framework, status, out);
            self.complete_task(&framework, &id);
        }
    }

    /// Tasks that were unreachable with the agent, and of which it tells nothing now that it is back: they are gone.
    fn end_missing(&mut self, now: Now, agent: &AgentId, out: &mut Effects) {
        let fate = Fate {
            state: TaskState::Gone,
            reason: Reason::AgentReregistered,
            message: format!("agent {agent} is back without the task"),
            since: None,
        };
        self.end_unreachable_on(now, agent, &fate, out);
    }

    /// Whether the task's end is settled already: the agent only missed the acknowledgement, and will be given it when it
    /// sends the update again. The end that it tells now may be another one, when its machine lost power and with it what
    /// the agent knew: the first end stays. One that left the table with its agent before anybody acknowledged its end is
    /// not settled: its framework has yet to hear of it.
    fn has_completed(
        &self,
        framework: &FrameworkId,
        id: &TaskId,
        agent: &AgentId,
        reported: TaskState,
    ) -> bool {
        // Nearly all that a cluster tells of when it comes back runs: nobody goes through a thousand ended ones for that.
        if !reported.is_terminal() {
            return false;
        }
        let completed =
            self.frameworks.get(framework).into_iter().flat_map(|framework| framework.completed.iter().rev());
        let known = completed.into_iter().find(|task| task.info.id == *id && task.agent == *agent);
        known.is_some_and(|task| task.is_settled())
    }

    /// Whether the task is known to be unreachable with another agent.
    fn is_unreachable_elsewhere(&self, framework: &FrameworkId, id: &TaskId, agent: &AgentId) -> bool {
        let known = self.frameworks.get(framework).and_then(|framework| framework.unreachable.get(id));
        known.is_some_and(|task| task.agent != *agent)
    }

    fn adopt_task(
        &mut self,
        now: Now,
        agent: &AgentId,
        given_up: GivenUp,
        report: TaskReport,
        out: &mut Effects,
    ) {
        let TaskReport { framework, task: info, role, latest, resized, resizing } = report;
        let (id, state) = (info.id.clone(), latest.state);
        let untold = self.take_untold(&framework, &id, agent);
        let was_unreachable = self.take_unreachable(&framework, &id);
        let holds = !state.is_terminal();
        self.agent_mut(agent).tasks.insert((framework.clone(), id.clone()));
        let mut task = Task {
            info,
            framework: framework.clone(),
            role,
            agent: agent.clone(),
            state,
            statuses: Vec::new(),
            launched: latest.timestamp,
            changed: latest.timestamp,
            holds,
            resized,
            resize: resizing.filter(|_| holds),
            pending: None,
            acknowledged: None,
            kill: None,
        };
        if holds {
            self.hold_allocated(agent, &framework, &task.role, &task.held());
        }
        if let Some(known) = was_unreachable.as_ref().or(untold.as_ref()) {
            task.statuses.clone_from(&known.statuses);
            task.kill.clone_from(&known.kill);
            (task.launched, task.changed, task.acknowledged) = (known.launched, now.wall, known.acknowledged);
        }
        let statuses_max = self.config.statuses_max;
        self.framework_mut(&framework).tasks.insert(id.clone(), task);
        let worded = self.worded(&framework, latest.clone());
        self.task_mut(&framework, &id).remember(&worded, statuses_max);
        let unkept = !self.checkpoints(&framework);
        let was_given_up = match given_up {
            _ if was_unreachable.is_some() => true,
            GivenUp::All => true,
            GivenUp::Unkept => unkept,
            GivenUp::MaybeUnkept | GivenUp::Known => false,
        };
        if was_given_up || given_up == GivenUp::MaybeUnkept && unkept {
            self.tell_back(now, agent, &framework, &latest, out);
        }
        // Not where it only may have been given up: a history of what did not happen misleads.
        if was_given_up {
            let summary = format!("task {id} is back with agent {agent}: {state}");
            let entry = Entry::new(Kind::Task, summary).framework(&framework).task(&id).agent(agent);
            out.push(Effect::Record(entry.reason(Reason::AgentReregistered)));
        }
    }

    /// The framework thought the task unreachable or lost. An end that it does not know comes as the agent's own
    /// update, to be acknowledged; everything else is told by the master.
    fn tell_back(
        &mut self,
        now: Now,
        agent: &AgentId,
        framework: &FrameworkId,
        latest: &TaskStatus,
        out: &mut Effects,
    ) {
        let (id, state) = (&latest.task_id, latest.state);
        if state.is_terminal() {
            return;
        }
        let status = TaskStatus {
            agent_id: Some(agent.clone()),
            reason: Some(Reason::AgentReregistered),
            message: Some(format!("agent {agent} is back")),
            healthy: latest.healthy,
            container: latest.container.clone(),
            ..TaskStatus::new(id.clone(), state, Source::Master, now.wall)
        };
        self.tell_status(framework, status, out);
    }
}
