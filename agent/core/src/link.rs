//! The agent's link to its master: when to open it, when to give it up, whom to obey.
//!
//! One link at a time. A link that fails is opened again after a random part of a window that doubles, so that a
//! thousand agents do not fall upon a master that just came up. Where nobody listens there is nobody to fall upon: the
//! agent looks every other second, or as the master asked it to, and is back soon after the master is, however long that
//! was away. A master whose epoch is lower than one that the agent has written down is deposed: nothing it says is
//! obeyed, and its link is closed.

use std::time::Duration;

use bourse_types::{AgentId, Epoch, Mono, Now};

use crate::agent::Agent;
use crate::checkpoint::{Record, Task};
use crate::config::Config;
use crate::description::Description;
use crate::effect::{Effect, FromAgent, Registration, TaskReport};
use crate::event::{FromMaster, LinkId, TaskKey};

/// The shortest wait that a master may ask for where nobody listens: a nonsensical one must not make the agent spin.
const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// The first window of an agent that no master has admitted since it started. Such agents are not lost all at once by a
/// failing master, and whoever starts a small cluster by hand wants to see it whole within a second.
const QUICK: Duration = Duration::from_millis(100);

/// No master asks for heartbeats faster than this; a nonsensical interval must not make the agent spin.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(crate) struct Link {
    stage: Stage,
    /// Attempts since the last registration that count, which those where nobody listened do only for an agent that no
    /// master has admitted.
    attempts: u32,
    /// What the last master asked for in the place of [`Config::reconnect_refused`].
    reconnect: Option<Duration>,
    /// Some master has admitted the agent since it started.
    was_registered: bool,
    /// Links asked for so far; the number of the newest.
    asked: u64,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// No link; the next one is asked for then.
    Waiting { until: Mono },
    /// Asked for.
    Connecting { link: LinkId, give_up: Mono },
    /// Open; the registration is not answered yet.
    Registering { link: LinkId, give_up: Mono },
    /// The master has admitted the agent.
    Registered { link: LinkId, interval: Duration, beat: Mono, heard: Mono },
    /// The agent is over.
    Over,
}

impl Link {
    /// The first attempt is due at once.
    pub(crate) fn new(seed: u64, now: Now) -> Link {
        let stage = Stage::Waiting { until: now.mono };
        Link { stage, attempts: 0, reconnect: None, was_registered: false, asked: 0, seed }
    }

    /// The link by which updates may be sent.
    pub(crate) fn registered(&self) -> Option<LinkId> {
        match self.stage {
            Stage::Registered { link, .. } => Some(link),
            Stage::Waiting { .. } | Stage::Connecting { .. } | Stage::Registering { .. } | Stage::Over => {
                None
            }
        }
    }

    fn current(&self) -> Option<LinkId> {
        match self.stage {
            Stage::Connecting { link, .. }
            | Stage::Registering { link, .. }
            | Stage::Registered { link, .. } => Some(link),
            Stage::Waiting { .. } | Stage::Over => None,
        }
    }

    pub(crate) fn deadline(&self, config: &Config) -> Mono {
        match self.stage {
            Stage::Waiting { until } => until,
            Stage::Connecting { give_up, .. } | Stage::Registering { give_up, .. } => give_up,
            Stage::Registered { beat, heard, interval, .. } => beat.min(heard + silence(config, interval)),
            Stage::Over => Mono::MAX,
        }
    }

    /// The agent exits: no link is opened any more.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Over;
    }

    /// The master says how soon it may be tried again where nobody listens.
    pub(crate) fn asked_to_return_within(&mut self, reconnect: Option<Duration>, config: &Config) {
        self.reconnect = reconnect.map(|asked| asked.max(RECONNECT_MIN).min(config.backoff_max));
    }

    /// How long the next attempt waits.
    fn wait(&mut self, refused: bool, config: &Config) -> Duration {
        let reconnect = self.reconnect.unwrap_or(config.reconnect_refused);
        if refused && self.was_registered {
            return reconnect / 2 + self.jitter(reconnect / 2);
        }
        let window = config.backoff_first;
        let first = if self.was_registered { window } else { window.min(QUICK) };
        let doubled = first.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        self.jitter(doubled.min(if refused { reconnect } else { config.backoff_max }))
    }

    /// Uniformly random from zero to the window, as the seed has it.
    fn jitter(&mut self, window: Duration) -> Duration {
        // SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let nanoseconds = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(bits) * u128::from(nanoseconds)) >> 64) as u64)
    }
}

/// How long a silent master is believed to be there.
fn silence(config: &Config, interval: Duration) -> Duration {
    interval.saturating_mul(config.missed_heartbeats.max(1))
}

impl Agent {
    /// Tells who the agent is. Stale for a link that was given up meanwhile.
    pub(crate) fn on_link_opened(&mut self, now: Now, link: LinkId, out: &mut Vec<Effect>) {
        match self.link.stage {
            Stage::Connecting { link: current, .. } if current == link => {
                self.link.stage =
                    Stage::Registering { link, give_up: now.mono + self.config.register_timeout };
                out.push(Effect::Send { link, message: FromAgent::Register(Box::new(self.registration())) });
            }
            Stage::Connecting { .. }
            | Stage::Waiting { .. }
            | Stage::Registering { .. }
            | Stage::Registered { .. }
            | Stage::Over => {}
        }
    }

    /// Waits, then tries again. A repeat and a stale link change nothing.
    pub(crate) fn on_link_closed(&mut self, now: Now, link: LinkId, refused: bool) {
        if self.link.current() == Some(link) {
            self.go_offline(now, refused);
        }
    }

    /// Whether a message is to be acted upon: by the present link, from a master that is not deposed, in its place.
    /// Writes down a higher epoch first, and closes the link of a deposed master.
    pub(crate) fn obeys(
        &mut self,
        now: Now,
        link: LinkId,
        epoch: Epoch,
        message: &FromMaster,
        out: &mut Vec<Effect>,
    ) -> bool {
        let first = matches!(message, FromMaster::Registered { .. } | FromMaster::Refused { .. });
        let in_place = match &mut self.link.stage {
            Stage::Registering { link: current, .. } => *current == link && first,
            Stage::Registered { link: current, heard, .. } => {
                let in_place = *current == link && !first;
                if in_place {
                    *heard = now.mono;
                }
                in_place
            }
            Stage::Waiting { .. } | Stage::Connecting { .. } | Stage::Over => false,
        };
        if !in_place {
            return false;
        }
        if epoch < self.state.epoch {
            let why = format!("the master's epoch {epoch} is lower than {}: it is deposed", self.state.epoch);
            self.give_up(now, link, why, out);
            return false;
        }
        if epoch > self.state.epoch {
            self.keep(Record::EpochSeen { epoch }, out);
        }
        true
    }

    /// Keeps the id, sends what waits, and answers for what the master believes to run here and does not.
    pub(crate) fn on_registered(
        &mut self,
        now: Now,
        agent: AgentId,
        heartbeat: Duration,
        known: Vec<TaskKey>,
        out: &mut Vec<Effect>,
    ) {
        let Some(link) = self.link.current() else { return };
        let interval = heartbeat.max(HEARTBEAT_MIN);
        self.link.stage = Stage::Registered { link, interval, beat: now.mono + interval, heard: now.mono };
        (self.link.attempts, self.link.was_registered) = (0, true);
        if self.state.agent.as_ref() != Some(&agent) {
            self.keep(Record::Admitted { agent }, out);
        }
        let description = Description::of(&self.config.info);
        if self.state.described.as_ref() != Some(&description) {
            self.keep(Record::Described { description: Box::new(description) }, out);
        }
        self.send_all(now, out);
        for key in known {
            let ours = self.state.tasks.get(&key).is_some_and(|task| !task.silent);
            if !ours {
                self.answer_unknown(now, &key, out);
            }
        }
    }

    /// Tries again later, or stops for good.
    pub(crate) fn on_refused(&mut self, now: Now, message: String, shut_down: bool, out: &mut Vec<Effect>) {
        let Some(link) = self.link.current() else { return };
        self.give_up(now, link, format!("the master refused: {message}"), out);
        if shut_down {
            self.link.end();
            self.on_stop(now, self.config.kill_grace, Some(message), out);
        }
    }

    pub(crate) fn tick_link(&mut self, now: Now, out: &mut Vec<Effect>) {
        match self.link.stage {
            Stage::Waiting { until } if until <= now.mono => {
                self.link.asked += 1;
                let link = LinkId(self.link.asked);
                self.link.stage =
                    Stage::Connecting { link, give_up: now.mono + self.config.register_timeout };
                out.push(Effect::Connect { link });
            }
            Stage::Connecting { link, give_up } if give_up <= now.mono => {
                self.give_up(now, link, "the master did not take the connection in time".into(), out);
            }
            Stage::Registering { link, give_up } if give_up <= now.mono => {
                self.give_up(now, link, "the master did not answer the registration in time".into(), out);
            }
            Stage::Registered { link, interval, beat, heard } => {
                let silence = silence(&self.config, interval);
                if heard + silence <= now.mono {
                    self.give_up(now, link, format!("the master was silent for {silence:?}"), out);
                } else if beat <= now.mono {
                    self.link.stage = Stage::Registered { link, interval, beat: now.mono + interval, heard };
                    out.push(Effect::Send { link, message: FromAgent::Heartbeat });
                }
            }
            Stage::Waiting { .. } | Stage::Connecting { .. } | Stage::Registering { .. } | Stage::Over => {}
        }
    }

    /// After each event: a machine that became smaller while no agent ran was told as it was, for the sake of its tasks.
    /// When the last of them has ended it is told as it is, by another registration.
    pub(crate) fn tell_less_without_tasks(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.config.total_without_tasks.is_none() || !self.state.tasks.values().all(Task::has_ended) {
            return;
        }
        let Some(total) = self.config.total_without_tasks.take() else { return };
        self.config.info.total = total;
        match self.link.stage {
            Stage::Registering { link, .. } | Stage::Registered { link, .. } => {
                let why = "the machine has less than the master was told, and no task relies on that any more: the \
                           next link tells what it has";
                self.give_up(now, link, why.into(), out);
            }
            // The registration is yet to come.
            Stage::Waiting { .. } | Stage::Connecting { .. } | Stage::Over => {}
        }
    }

    fn give_up(&mut self, now: Now, link: LinkId, why: String, out: &mut Vec<Effect>) {
        out.push(Effect::CloseLink { link, why });
        self.go_offline(now, false);
    }

    fn go_offline(&mut self, now: Now, refused: bool) {
        let wait = self.link.wait(refused, &self.config);
        self.link.stage = Stage::Waiting { until: now.mono + wait };
        self.hold_all();
    }

    /// A framework that was shut down is not spoken of: the master has already written its tasks off.
    fn registration(&self) -> Registration {
        let told = || self.state.tasks.iter().filter(|(_, task)| !task.silent);
        let tasks = told().filter_map(|(key, task)| {
            Some(TaskReport {
                framework: key.framework.clone(),
                message: task.assignment.message.clone(),
                role: task.assignment.role.clone(),
                resources: task.assignment.resources.clone(),
                latest: task.latest.clone()?,
                size: task.resized.then(|| task.size()),
                resizing: task.resize.clone().filter(|_| !task.has_ended()),
            })
        });
        let frameworks = self.state.frameworks.iter();
        let frameworks = frameworks.filter(|(id, _)| told().any(|(key, _)| key.framework == **id));
        Registration {
            id: self.state.agent.clone(),
            info: self.config.info.clone(),
            boot: self.boot.clone(),
            tasks: tasks.collect(),
            frameworks: frameworks.map(|(_, info)| info.clone()).collect(),
            epoch: self.state.epoch,
        }
    }
}
