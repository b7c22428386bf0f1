//! One task's life on this agent: assigned, launched, ended, forgotten.

use std::time::Duration;

use bourse_types::{
    AgentId, ContainerId, Exit, FrameworkId, FrameworkInfo, Mono, Now, Reason, Resources, Source, TaskState,
    TaskStatus,
};

use crate::agent::{Agent, Live};
use crate::checkpoint::{KillCause, Record, Task};
use crate::disk;
use crate::effect::{Effect, Launch};
use crate::event::{Assignment, End, TaskKey, Work};
use crate::health::Prober;
use crate::kill::told_reason;

/// The agent ends once its tasks have.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// Why, when it was the master who wanted it.
    refused: Option<String>,
    /// No task gets a longer grace.
    cap: Duration,
    /// Until then acknowledgements are waited for. Set when the last task has ended.
    flush: Option<Mono>,
    /// `Exit` was said.
    done: bool,
}

impl Stopping {
    pub(crate) fn deadline(&self) -> Mono {
        self.flush.filter(|_| !self.done).unwrap_or(Mono::MAX)
    }
}

impl Agent {
    /// Launches a task. Nothing for one that the agent knows; a task id that already had its end here is refused, as a
    /// repeat that comes too late must not run it again.
    pub(crate) fn on_run(
        &mut self,
        now: Now,
        framework: FrameworkInfo,
        assignment: Assignment,
        out: &mut Vec<Effect>,
    ) {
        let key = assignment.key.clone();
        if self.state.tasks.contains_key(&key) || self.answers.contains_key(&key) {
            return;
        }
        if self.state.ended.contains(&key) {
            let why = "a task of this id has already ended on this agent; give every task an id of its own";
            return self.answer(now, &key, TaskState::Error, Reason::TaskInvalid, why, out);
        }
        let (Some(agent), None) = (self.state.agent.clone(), &self.stopping) else {
            let why = "the agent is stopping and launches nothing any more; launch the task on another one";
            return self.answer(now, &key, TaskState::Dropped, Reason::AgentDisconnected, why, out);
        };
        if let Some(shortage) = self.disk_lacks {
            let why = format!(
                "the disk of the agent's work directory {shortage}, and nothing can be launched before there is room; free \
                 some or mend it, or launch the task on another agent"
            );
            return self.answer(now, &key, TaskState::Dropped, Reason::ContainerLaunchFailed, &why, out);
        }
        let framework_user = framework.user.clone();
        if self.state.frameworks.get(&key.framework) != Some(&framework) {
            let info = Box::new(framework);
            self.keep(Record::FrameworkKnown { framework: key.framework.clone(), info }, out);
        }
        self.accept(now, agent, framework_user, assignment, out);
    }

    fn accept(
        &mut self,
        now: Now,
        agent: AgentId,
        framework_user: String,
        assignment: Assignment,
        out: &mut Vec<Effect>,
    ) {
        let key = assignment.key.clone();
        let work = assignment.work.clone();
        let container = self.ids.container();
        let record = Record::TaskAccepted { assignment: Box::new(assignment), container: container.clone() };
        self.keep(record, out);
        self.live.insert(key.clone(), Live::default());
        self.containers.insert(container.clone(), key.clone());
        match work {
            Work::Run(spec) => {
                let cores = match self.choose_cores(&spec) {
                    Ok(cores) => cores,
                    Err(why) => {
                        let mut status = self.status(now, &key, TaskState::Failed, Source::Agent);
                        status.reason = Some(Reason::ContainerLaunchFailed);
                        status.message = Some(why);
                        return self.tell(now, &key, status, out);
                    }
                };
                let alone = !cores.is_empty();
                if alone {
                    self.keep(Record::CoresTaken { task: key.clone(), cores }, out);
                }
                let cores = self.state.tasks.get(&key).and_then(|task| self.cores_for(task));
                if let Some(live) = self.live.get_mut(&key) {
                    live.cores.clone_from(&cores);
                }
                let starting = self.status(now, &key, TaskState::Starting, Source::Executor);
                self.tell(now, &key, starting, out);
                let launch = Launch { container, task: key, spec: *spec, framework_user, agent, cores };
                out.push(Effect::Launch(Box::new(launch)));
                if alone {
                    self.share_cores(out);
                }
            }
            Work::Refuse(why) => {
                let mut status = self.status(now, &key, TaskState::Error, Source::Agent);
                status.reason = Some(Reason::TaskInvalid);
                status.message = Some(why);
                self.tell(now, &key, status, out);
            }
        }
    }

    /// The task runs; a kill that came while it was being launched goes on from here. A repeat changes nothing.
    pub(crate) fn on_launched(&mut self, now: Now, container: &ContainerId, pid: u32, out: &mut Vec<Effect>) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(task) = self.state.tasks.get(&key) else { return };
        if task.has_ended() || task.started.is_some() {
            return;
        }
        let killed = task.kill.is_some();
        self.keep(Record::TaskStarted { task: key.clone(), pid, at: now.wall }, out);
        if killed {
            return self.carry_on_kill(now, &key, out);
        }
        let running = self.status(now, &key, TaskState::Running, Source::Executor);
        self.tell(now, &key, running, out);
        self.start_timers(now, &key);
        // Others may have taken cores for themselves while it was being launched, or given some up.
        self.ask_if_moved(&key, out);
    }

    /// Health checks and the longest run time of a task that runs, counted from its start.
    pub(crate) fn start_timers(&mut self, now: Now, key: &TaskKey) {
        let Some(task) = self.state.tasks.get(key) else { return };
        let (Some((_, at)), Work::Run(spec)) = (task.started, &task.assignment.work) else { return };
        let ago = now.wall.since(at);
        let completion = spec.max_completion_time.map(|longest| now.mono + longest.saturating_sub(ago));
        let prober = spec.health.as_ref().map(|check| Prober::new(check, ago, now));
        if let Some(live) = self.live.get_mut(key) {
            live.completion = completion;
            live.prober = prober;
        }
    }

    /// The task never ran.
    pub(crate) fn on_launch_failed(
        &mut self,
        now: Now,
        container: &ContainerId,
        message: String,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(task) = self.state.tasks.get(&key).filter(|task| !task.has_ended()) else { return };
        let (state, reason) = match &task.kill {
            Some(_) => (TaskState::Killed, Reason::TaskKilledDuringLaunch),
            None => (TaskState::Failed, Reason::ContainerLaunchFailed),
        };
        let mut status = self.status(now, &key, state, Source::Agent);
        status.reason = Some(reason);
        status.message = Some(message);
        self.end(now, &key, status, out);
    }

    /// The task is over. Its end is written down before anything of its container is removed.
    pub(crate) fn on_ended(&mut self, now: Now, container: &ContainerId, end: &End, out: &mut Vec<Effect>) {
        let Some(key) = self.containers.get(container).cloned() else {
            out.push(Effect::Destroy { container: container.clone() });
            return;
        };
        let Some(task) = self.state.tasks.get(&key).filter(|task| !task.has_ended()) else { return };
        let verdict = verdict(task, end);
        let mut status = self.status(now, &key, verdict.state, Source::Executor);
        status.reason = verdict.reason;
        status.message = Some(verdict.message);
        status.healthy = verdict.healthy;
        status.limitation = verdict.limitation;
        status.exit = end.exit;
        self.end(now, &key, status, out);
    }

    /// Tells a task's last state and lets go of its container; the sandbox stays.
    pub(crate) fn end(&mut self, now: Now, key: &TaskKey, status: TaskStatus, out: &mut Vec<Effect>) {
        let Some(task) = self.state.tasks.get(key) else { return };
        let (container, silent, alone) = (task.container.clone(), task.silent, !task.cores.is_empty());
        if let Some(live) = self.live.get_mut(key) {
            (live.completion, live.kill, live.prober, live.asked) = (None, None, None, None);
        }
        if silent {
            self.forget(key, out);
        } else {
            self.tell(now, key, status, out);
        }
        out.push(Effect::Destroy { container });
        if alone {
            self.share_cores(out);
        }
    }

    /// Nobody has to hear of the task any more.
    pub(crate) fn forget(&mut self, key: &TaskKey, out: &mut Vec<Effect>) {
        if let Some(task) = self.state.tasks.get(key) {
            self.containers.remove(&task.container);
        }
        self.live.remove(key);
        self.keep(Record::TaskForgotten { task: key.clone() }, out);
        let framework = &key.framework;
        if !self.state.tasks.keys().any(|other| other.framework == *framework) {
            self.keep(Record::FrameworkForgotten { framework: framework.clone() }, out);
        }
    }

    /// The task has run for as long as it may.
    pub(crate) fn tick_completion(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        if self.live.get(key).and_then(|live| live.completion).is_some_and(|deadline| deadline <= now.mono) {
            self.begin_kill(now, key, KillCause::TookTooLong, self.own_grace(key), out);
        }
    }

    /// Kills all tasks of the framework and tells nothing about them: the master has written them off.
    pub(crate) fn on_shutdown_framework(&mut self, now: Now, framework: &FrameworkId, out: &mut Vec<Effect>) {
        self.answers.retain(|key, _| key.framework != *framework);
        let keys: Vec<TaskKey> =
            self.state.tasks.keys().filter(|key| key.framework == *framework).cloned().collect();
        for key in &keys {
            if self.state.tasks.get(key).is_some_and(|task| task.silent) {
                continue;
            }
            self.keep(Record::TaskSilenced { task: key.clone() }, out);
            if let Some(live) = self.live.get_mut(key) {
                live.retry = None;
            }
            if self.state.tasks.get(key).is_some_and(Task::has_ended) {
                self.forget(key, out);
            } else {
                self.begin_kill(now, key, KillCause::FrameworkGone, self.own_grace(key), out);
            }
        }
    }

    /// Kills every task with at most `cap` of grace; the agent exits when the last one is gone.
    pub(crate) fn on_stop(
        &mut self,
        now: Now,
        cap: Duration,
        refused: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        let cap = self.stopping.as_ref().map_or(cap, |stopping| stopping.cap.min(cap));
        match &mut self.stopping {
            Some(stopping) => stopping.cap = cap,
            None => self.stopping = Some(Stopping { refused, cap, flush: None, done: false }),
        }
        let keys: Vec<TaskKey> = self.state.tasks.keys().cloned().collect();
        for key in &keys {
            self.begin_kill(now, key, KillCause::AgentStops, self.own_grace(key).min(cap), out);
            self.shorten_kill(now, key, cap, out);
        }
    }

    /// After each event: a stopping agent without containers exits, once the master heard of the ends or a little time
    /// has passed.
    pub(crate) fn exit_when_done(&mut self, now: Now, out: &mut Vec<Effect>) {
        let heard = !self.is_registered() || !self.has_unacknowledged();
        let over = self.state.tasks.values().all(Task::has_ended);
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| over && !stopping.done) else { return };
        let flush = *stopping.flush.get_or_insert(now.mono + self.config.stop_flush);
        if heard || flush <= now.mono {
            stopping.done = true;
            out.push(Effect::Exit { refused: stopping.refused.clone() });
            self.link.end();
        }
    }
}

/// What the end of a container means for its task.
struct Verdict {
    state: TaskState,
    reason: Option<Reason>,
    message: String,
    healthy: Option<bool>,
    limitation: Resources,
}

fn verdict(task: &Task, end: &End) -> Verdict {
    let how = how(end);
    let plain = |state, reason, message| Verdict {
        state,
        reason,
        message,
        healthy: None,
        limitation: Resources::new(),
    };
    let Some(kill) = &task.kill else {
        return match (&end.limitation, end.exit) {
            (Some(limit), _) => {
                let limitation = limit.resources.clone();
                Verdict { limitation, ..plain(TaskState::Failed, Some(limit.reason), limit.message.clone()) }
            }
            (None, Some(Exit::Code(0))) => plain(TaskState::Finished, None, how),
            (None, Some(Exit::Code(_) | Exit::Signal(_))) => plain(TaskState::Failed, None, how),
            (None, None) => plain(TaskState::Failed, Some(Reason::ExecutorTerminated), how),
        };
    };
    let reason = told_reason(&kill.cause);
    match &kill.cause {
        KillCause::Asked(_) | KillCause::FrameworkGone => plain(TaskState::Killed, reason, how),
        KillCause::Unhealthy => {
            let message = format!("health check failed {} times in a row; {how}", task.health.failures);
            Verdict { healthy: Some(false), ..plain(TaskState::Killed, reason, message) }
        }
        KillCause::TookTooLong => {
            plain(TaskState::Failed, reason, format!("ran for its max_completion_time; {how}"))
        }
        KillCause::OverDisk { held, limit } => {
            let message = disk::message(held, *limit);
            let limitation = disk::limitation(*limit);
            Verdict { limitation, ..plain(TaskState::Failed, reason, message) }
        }
        KillCause::CoresLost => {
            let why = "the agent has fewer cores than before, and not as many for this task alone as it asked for; launch \
                       it on another agent, or ask for fewer";
            plain(TaskState::Failed, reason, format!("{why}; {how}"))
        }
        KillCause::AgentRestarted => {
            let why = "the agent was restarted and the framework does not checkpoint";
            plain(TaskState::Gone, reason, format!("{why}; {how}"))
        }
        KillCause::AgentStops => plain(TaskState::Gone, reason, format!("the agent stops; {how}")),
    }
}

/// How the container ended, in words.
fn how(end: &End) -> String {
    match (end.exit, &end.message) {
        (Some(exit), None) => exit.to_string(),
        (Some(exit), Some(message)) => format!("{exit}; {message}"),
        (None, Some(message)) => message.clone(),
        (None, None) => "its container left no exit record: the first process of it was killed".into(),
    }
}
