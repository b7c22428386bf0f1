//! The agent as a value: its tables, and the switch from causes to the rooms that handle them.

use std::collections::BTreeMap;

use bourse_types::{AgentId, ContainerId, Mono, Now, Size};

use crate::checkpoint::{Record, State};
use crate::config::Config;
use crate::cores::Cores;
use crate::disk::Shortage;
use crate::effect::Effect;
use crate::event::{Event, FromMaster, TaskKey};
use crate::health::Prober;
use crate::ids::Ids;
use crate::kill::KillTimer;
use crate::link::Link;
use crate::resize::Asked;
use crate::task::Stopping;
use crate::updates::{Answer, Retry};

/// One agent: what survives it, and what is only true while it runs.
#[derive(Clone, Debug)]
pub struct Agent {
    pub(crate) config: Config,
    /// The kernel's boot id.
    pub(crate) boot: String,
    /// Changed only by [`Agent::keep`].
    pub(crate) state: State,
    pub(crate) ids: Ids,
    pub(crate) link: Link,
    /// Timers of the tasks in `state`.
    pub(crate) live: BTreeMap<TaskKey, Live>,
    /// Which task each container is of.
    pub(crate) containers: BTreeMap<ContainerId, TaskKey>,
    /// Updates about tasks that are not ours. Not kept on disk: the master asks again.
    pub(crate) answers: BTreeMap<TaskKey, Answer>,
    pub(crate) stopping: Option<Stopping>,
    /// Why there is no room to write down another task.
    pub(crate) disk_lacks: Option<Shortage>,
    /// It has just started and does not know of every task yet whether it still runs.
    pub(crate) recovering: bool,
}

/// What is only true of a task while this agent runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// When the oldest unacknowledged update is sent again. `None`: it was not sent on this link.
    pub(crate) retry: Option<Retry>,
    /// When the task has run for long enough.
    pub(crate) completion: Option<Mono>,
    pub(crate) kill: Option<KillTimer>,
    pub(crate) prober: Option<Prober>,
    /// The cores that its container was given last; `None`: all.
    pub(crate) cores: Option<Cores>,
    /// A question about the limits of its container.
    pub(crate) asked: Option<Asked>,
    /// The size that it is to have if its sandbox, which is being measured, holds no more than that.
    pub(crate) measuring: Option<Size>,
}

impl Agent {
    /// The only way in. Same state, same `now`, same event: same effects, on any machine.
    pub fn apply(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::LinkOpened { link } => self.on_link_opened(now, link, out),
            Event::LinkClosed { link, refused } => self.on_link_closed(now, link, refused),
            Event::FromMaster { link, epoch, message } => {
                if self.obeys(now, link, epoch, &message, out) {
                    self.on_master(now, message, out);
                }
            }
            Event::Launched { container, pid } => self.on_launched(now, &container, pid, out),
            Event::LaunchFailed { container, message } => {
                self.on_launch_failed(now, &container, message, out)
            }
            Event::Ended { container, end } => self.on_ended(now, &container, &end, out),
            Event::Probed { container, round, outcome } => {
                self.on_probed(now, &container, round, outcome, out)
            }
            Event::Resized { container, outcome } => self.on_resized(now, &container, outcome, out),
            Event::Measured { container, outcome } => self.on_measured(now, &container, outcome, out),
            Event::SandboxMeasured { container, held } => {
                self.on_sandbox_measured(now, &container, held, out)
            }
            Event::Stop { cap } => self.on_stop(now, cap, None, out),
            Event::Disk { lacks } => self.disk_lacks = lacks,
            Event::Tick => self.on_tick(now, out),
        }
        self.note_cores_together(out);
        self.tell_less_without_tasks(now, out);
        self.exit_when_done(now, out);
    }

    fn on_master(&mut self, now: Now, message: FromMaster, out: &mut Vec<Effect>) {
        match message {
            FromMaster::Registered { agent, heartbeat, known, reconnect, .. } => {
                self.link.asked_to_return_within(reconnect, &self.config);
                self.on_registered(now, agent, heartbeat, known, out);
            }
            FromMaster::Refused { message, shut_down, .. } => self.on_refused(now, message, shut_down, out),
            FromMaster::Run { framework, assignment } => self.on_run(now, *framework, *assignment, out),
            FromMaster::Kill { task, policy, reason } => self.on_kill(now, &task, policy, reason, out),
            FromMaster::Resize { task, size } => self.on_resize(now, &task, *size, out),
            FromMaster::Acknowledge { task, uuid } => self.on_acknowledged(now, &task, uuid, out),
            FromMaster::ShutdownFramework { framework } => self.on_shutdown_framework(now, &framework, out),
            FromMaster::HeartbeatAck => {}
        }
    }

    fn on_tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.tick_link(now, out);
        let due: Vec<TaskKey> = self
            .live
            .iter()
            .filter(|(_, live)| live.deadline() <= now.mono)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &due {
            self.tick_completion(now, key, out);
            self.tick_kill(now, key, out);
            self.tick_health(now, key, out);
            self.tick_updates(now, key, out);
        }
        self.tick_answers(now, out);
    }

    /// When the agent wants the next [`Event::Tick`]. `None`: not before something else happens.
    pub fn next_deadline(&self) -> Option<Mono> {
        let tasks = self.live.values().map(Live::deadline);
        let answers = self.answers.values().map(Answer::deadline);
        let stopping = self.stopping.as_ref().map_or(Mono::MAX, Stopping::deadline);
        let first = tasks.chain(answers).chain([self.link.deadline(&self.config), stopping]).min();
        first.filter(|first| *first < Mono::MAX)
    }

    /// What survives the agent: what its checkpoint adds up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The id that a master gave. `None` before the first registration.
    pub fn id(&self) -> Option<&AgentId> {
        self.state.agent.as_ref()
    }

    /// Whether a master has admitted the agent by the present link.
    pub fn is_registered(&self) -> bool {
        self.link.registered().is_some()
    }

    /// The one way to change what survives: in memory now, on disk before anything that is said after it.
    pub(crate) fn keep(&mut self, record: Record, out: &mut Vec<Effect>) {
        self.state.apply(&record);
        out.push(Effect::Checkpoint(record));
    }
}

impl Live {
    /// The first of the task's deadlines; [`Mono::MAX`] when it has none.
    fn deadline(&self) -> Mono {
        let retry = self.retry.map(|retry| retry.next);
        let kill = self.kill.map(|kill| kill.deadline);
        let probe = self.prober.as_ref().and_then(Prober::deadline);
        [retry, self.completion, kill, probe].into_iter().flatten().min().unwrap_or(Mono::MAX)
    }
}
