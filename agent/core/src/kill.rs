//! Killing a task: SIGTERM, grace, SIGKILL for everything in its container, again until it is gone.
//!
//! A kill is part of the checkpoint with what is left of its grace, so an agent that comes back goes on where it was.

use std::time::Duration;

use bourse_types::{KillPolicy, Mono, Now, Reason, Source, TaskState};

use crate::agent::Agent;
use crate::checkpoint::{Kill, KillCause, Record};
use crate::effect::{Effect, Signal};
use crate::event::{TaskKey, Work};

/// When the next step of a kill is due. Set once the container runs: what is still being launched cannot be signalled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KillTimer {
    pub(crate) deadline: Mono,
}

impl Agent {
    /// Kills a task of ours, or shortens the grace of a kill under way; answers for a task that is not ours. One that
    /// has ended is left alone: its end is on the way already.
    pub(crate) fn on_kill(
        &mut self,
        now: Now,
        key: &TaskKey,
        policy: Option<KillPolicy>,
        reason: Option<Reason>,
        out: &mut Vec<Effect>,
    ) {
        let Some(task) = self.state.tasks.get(key).filter(|task| !task.silent) else {
            self.answer_unknown(now, key, out);
            return;
        };
        let asked = policy.and_then(|policy| policy.grace);
        if task.kill.is_some() {
            // Without a grace of its own, a repeat asks for nothing that is not being done.
            if let Some(grace) = asked {
                self.shorten_kill(now, key, grace, out);
            }
            return;
        }
        let grace = asked.unwrap_or_else(|| self.own_grace(key));
        self.begin_kill(now, key, KillCause::Asked(reason), grace, out);
    }

    /// The grace that the task's own policy, or else the agent, gives it.
    pub(crate) fn own_grace(&self, key: &TaskKey) -> Duration {
        let own = self.state.tasks.get(key).and_then(|task| match &task.assignment.work {
            Work::Run(spec) => spec.kill_policy.grace,
            Work::Refuse(_) => None,
        });
        own.unwrap_or(self.config.kill_grace)
    }

    /// Starts to kill a task that runs or is being launched. Nothing for one that has ended or is being killed.
    pub(crate) fn begin_kill(
        &mut self,
        now: Now,
        key: &TaskKey,
        cause: KillCause,
        grace: Duration,
        out: &mut Vec<Effect>,
    ) {
        let Some(task) = self.state.tasks.get(key) else { return };
        if task.has_ended() || task.kill.is_some() {
            return;
        }
        let reason = told_reason(&cause);
        let kill = Kill { cause, grace, left: grace, at: now.wall };
        self.keep(Record::KillBegun { task: key.clone(), kill }, out);
        if self.state.frameworks.get(&key.framework).is_some_and(|info| info.capabilities.task_killing) {
            let mut status = self.status(now, key, TaskState::Killing, Source::Executor);
            status.reason = reason;
            self.tell(now, key, status, out);
        }
        self.carry_on_kill(now, key, out);
    }

    /// Takes the next step of a kill under way, if the container runs: SIGTERM and the rest of the grace.
    pub(crate) fn carry_on_kill(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(task) = self.state.tasks.get(key) else { return };
        let (Some(kill), true) = (&task.kill, task.started.is_some()) else { return };
        // The wall clock may have jumped back; then the task gets the whole rest of its grace once more.
        let left = kill.left.saturating_sub(now.wall.since(kill.at));
        if !left.is_zero() {
            out.push(Effect::Signal { container: task.container.clone(), signal: Signal::Term });
        }
        self.set_kill_deadline(key, now.mono + left);
        self.tick_kill(now, key, out);
    }

    /// Cuts the grace of a kill under way down to `grace`, counted from the kill's beginning. Never lengthens it.
    pub(crate) fn shorten_kill(&mut self, now: Now, key: &TaskKey, grace: Duration, out: &mut Vec<Effect>) {
        let timer = self.live.get(key).and_then(|live| live.kill);
        let Some(task) = self.state.tasks.get(key).filter(|task| !task.has_ended()) else { return };
        let Some(kill) = &task.kill else { return };
        let left = timer.map_or(kill.left, |timer| timer.deadline.since(now.mono));
        let elapsed = kill.grace.saturating_sub(left);
        let shorter = grace.saturating_sub(elapsed);
        if grace >= kill.grace || shorter >= left {
            return;
        }
        let kill = Kill { cause: kill.cause.clone(), grace, left: shorter, at: now.wall };
        self.keep(Record::KillBegun { task: key.clone(), kill }, out);
        if timer.is_some() {
            self.set_kill_deadline(key, now.mono + shorter);
            self.tick_kill(now, key, out);
        }
    }

    /// The grace is over: everything in the container is killed, and again while it does not end.
    pub(crate) fn tick_kill(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(timer) = self.live.get(key).and_then(|live| live.kill) else { return };
        if timer.deadline > now.mono {
            return;
        }
        if let Some(task) = self.state.tasks.get(key) {
            out.push(Effect::KillAll { container: task.container.clone() });
        }
        self.set_kill_deadline(key, now.mono + self.config.kill_again);
    }

    fn set_kill_deadline(&mut self, key: &TaskKey, deadline: Mono) {
        if let Some(live) = self.live.get_mut(key) {
            live.kill = Some(KillTimer { deadline });
            // What is being killed is neither checked nor timed any more.
            live.prober = None;
            live.completion = None;
        }
    }
}

/// The reason that goes with a task's TASK_KILLING and its end.
pub(crate) fn told_reason(cause: &KillCause) -> Option<Reason> {
    match cause {
        KillCause::Asked(reason) => *reason,
        // Mesos tells such a task by `healthy: false` and has no reason for it.
        KillCause::Unhealthy => None,
        KillCause::TookTooLong => Some(Reason::MaxCompletionTimeReached),
        KillCause::OverDisk { .. } => Some(Reason::ContainerLimitationDisk),
        KillCause::CoresLost => Some(Reason::ContainerUpdateFailed),
        KillCause::AgentRestarted => Some(Reason::AgentRestarted),
        KillCause::AgentStops => Some(Reason::AgentRemoved),
        KillCause::FrameworkGone => Some(Reason::FrameworkRemoved),
    }
}
