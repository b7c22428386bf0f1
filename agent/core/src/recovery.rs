//! Starting an agent: what its checkpoint says, compared with what still runs.
//!
//! Nothing is ever launched here. A task that was accepted and whose container was never made is told as dropped: the
//! agent cannot know for certain that it did not run (a lost runtime directory looks the same), and a framework that
//! hears of it can launch another, while a second run could not be undone.

use std::collections::BTreeMap;

use bourse_types::{ContainerId, FrameworkId, Now, Reason, Source, TaskState};

use crate::agent::{Agent, Live};
use crate::checkpoint::{KillCause, Record, State};
use crate::config::Config;
use crate::effect::Effect;
use crate::event::{End, TaskKey};
use crate::ids::Ids;
use crate::link::Link;

/// All that an agent is started from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its settings.
    pub config: Config,
    /// The kernel's boot id.
    pub boot: String,
    /// Random bits that no other start of this agent has: ids of updates and containers come from them, and jitter.
    pub incarnation: u64,
    /// What the checkpoint adds up to.
    pub state: State,
    /// What the containerizer found.
    pub found: Vec<Found>,
}

/// A container of an earlier agent on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Which one.
    pub container: ContainerId,
    /// What became of it.
    pub condition: Condition,
}

/// What became of a container while no agent watched.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It still runs, and its task's first process has this pid.
    Running {
        /// As the host counts.
        pid: u32,
    },
    /// It ended, and its exit record says how.
    Exited(End),
    /// Its set-up failed: nothing of the task ran. The text says which step, why, and what to do.
    NeverRan(String),
    /// The agent was gone before the set-up was through: nothing of the task ran, and nothing was wrong with it.
    CutShort,
    /// No process of it is left, and no exit record.
    Vanished,
}

impl Agent {
    /// Starts an agent: goes on with what runs, tells what ended meanwhile, removes what nobody knows.
    pub fn start(start: Start, now: Now, out: &mut Vec<Effect>) -> Agent {
        let Start { config, boot, incarnation, state, found } = start;
        let same_boot = state.boot.as_ref() == Some(&boot);
        let apart = state.cores_apart;
        let tasks = || state.tasks.iter();
        let live = tasks().map(|(key, _)| (key.clone(), Live::default())).collect();
        let containers: BTreeMap<_, _> =
            tasks().map(|(key, task)| (task.container.clone(), key.clone())).collect();
        let (known, strangers): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| containers.contains_key(&found.container));
        let mut agent = Agent {
            config,
            boot: boot.clone(),
            state,
            ids: Ids::new(incarnation),
            link: Link::new(incarnation, now),
            live,
            containers,
            answers: Default::default(),
            stopping: None,
            disk_lacks: None,
            recovering: true,
        };
        if !same_boot {
            agent.keep(Record::Booted { boot }, out);
        }
        let keys: Vec<TaskKey> = agent.state.tasks.keys().cloned().collect();
        for key in &keys {
            let condition = agent.state.tasks.get(key).and_then(|task| {
                let of_task = known.iter().find(|found| found.container == task.container);
                of_task.map(|found| found.condition.clone())
            });
            agent.recover(now, key, condition, same_boot, out);
        }
        agent.settle_cores(now, out);
        agent.recovering = false;
        for key in &keys {
            agent.limit_again(key, apart, out);
        }
        agent.forget_empty_frameworks(out);
        out.extend(strangers.into_iter().map(|found| Effect::Destroy { container: found.container }));
        agent
    }

    fn recover(
        &mut self,
        now: Now,
        key: &TaskKey,
        condition: Option<Condition>,
        same_boot: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(task) = self.state.tasks.get(key) else { return };
        let (container, started) = (task.container.clone(), task.started.is_some());
        if task.has_ended() {
            // The log may have been cut between the last acknowledgement and what follows from it.
            if task.unacknowledged.is_empty() {
                self.forget(key, out);
            }
            if condition.is_some() {
                out.push(Effect::Destroy { container });
            }
            return;
        }
        if !same_boot {
            let why = "the machine was restarted, and no task outlives that";
            return self.lose(now, key, TaskState::Gone, Reason::AgentRestarted, why, out);
        }
        match condition {
            Some(Condition::Running { pid }) => self.go_on(now, key, container, pid, out),
            Some(Condition::Exited(end)) => self.on_ended(now, &container, &end, out),
            Some(Condition::NeverRan(message)) => self.on_launch_failed(now, &container, message, out),
            Some(Condition::CutShort) if !started => {
                let why = "the agent was stopped while it launched the task; nothing of it has run";
                self.lose(now, key, TaskState::Dropped, Reason::AgentRestarted, why, out);
            }
            // That it was launched is in the checkpoint, whatever else was lost: of a task that ran it must not be told that
            // nothing did.
            Some(Condition::CutShort | Condition::Vanished) => {
                let why = "its container vanished while the agent was down and left no exit record";
                self.lose(now, key, TaskState::Failed, Reason::ExecutorTerminated, why, out);
            }
            None if started => {
                let why = "nothing of its container was found when the agent came back";
                self.lose(now, key, TaskState::Failed, Reason::ExecutorTerminated, why, out);
            }
            None => {
                let why = "the agent was restarted before the task was launched";
                self.lose(now, key, TaskState::Dropped, Reason::AgentRestarted, why, out);
            }
        }
    }

    fn go_on(&mut self, now: Now, key: &TaskKey, container: ContainerId, pid: u32, out: &mut Vec<Effect>) {
        let Some(task) = self.state.tasks.get(key) else { return };
        let (started, killed, silent) = (task.started.is_some(), task.kill.is_some(), task.silent);
        out.push(Effect::Watch { container: container.clone() });
        match (started, killed) {
            // Launched, and the agent died before it wrote that down.
            (false, _) => self.on_launched(now, &container, pid, out),
            // The signal may not have been sent yet, so it is sent again.
            (true, true) => self.carry_on_kill(now, key, out),
            (true, false) => self.start_timers(now, key),
        }
        let checkpoints = self.state.frameworks.get(&key.framework).is_some_and(|info| info.checkpoint);
        let cause = match (killed, silent, checkpoints) {
            // The log was cut before the kill that goes with the silence.
            (false, true, _) => KillCause::FrameworkGone,
            // The master has told the framework long ago that its tasks here are lost.
            (false, false, false) => KillCause::AgentRestarted,
            (true, _, _) | (false, false, true) => return,
        };
        self.begin_kill(now, key, cause, self.own_grace(key), out);
    }

    /// A resize may not have been asked for yet, or its answer was lost. Where some task had cores for itself, the others
    /// may not have been moved yet, or back since it has ended.
    fn limit_again(&mut self, key: &TaskKey, apart: bool, out: &mut Vec<Effect>) {
        let resizing = self.state.tasks.get(key).is_some_and(|task| task.resize.is_some());
        if apart || resizing {
            self.ask(key, out);
        }
    }

    /// The log may have been cut before the last record about a framework.
    fn forget_empty_frameworks(&mut self, out: &mut Vec<Effect>) {
        let used = |id: &FrameworkId| self.state.tasks.keys().any(|key| key.framework == *id);
        let empty: Vec<FrameworkId> = self.state.frameworks.keys().filter(|id| !used(id)).cloned().collect();
        for framework in empty {
            self.keep(Record::FrameworkForgotten { framework }, out);
        }
    }

    fn lose(
        &mut self,
        now: Now,
        key: &TaskKey,
        state: TaskState,
        reason: Reason,
        why: &str,
        out: &mut Vec<Effect>,
    ) {
        let mut status = self.status(now, key, state, Source::Agent);
        status.reason = Some(reason);
        status.message = Some(why.to_owned());
        self.end(now, key, status, out);
    }
}
