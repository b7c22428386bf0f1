//! The one task that owns the core.
//!
//! It takes a batch of inputs, applies each, writes what must survive, and only then lets the effects out. A checkpoint
//! that cannot be written stops the agent before anything was said: its tasks run on, and the next agent finds them. A
//! disk that is full does not stop it, as the tasks that fill it have to be killed by somebody: no task is launched, and
//! should even the room that the checkpoint holds be used up, nothing new is told or begun. So it is at once on a disk that
//! has become read-only. Heartbeats, health checks and kills go on: the core's clocks do, and a check or a signal that
//! waited would count against the task.

mod narration;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bourse_agent_core::{Agent, Effect, Event, FromAgent, FromMaster, Record};
use bourse_client::Settings;
use bourse_containerizer::Containerizer;
use bourse_containerizer::failpoint::{Failpoint, reached};
use bourse_proto::agent_link as link;
use bourse_types::Now;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::launcher::Launcher;
use crate::session::Link;
use crate::view::View;
use crate::wire;

use narration::{narrate, report};

/// How many inputs wait for the driver; who brings more waits too.
pub const INBOX_MAX: usize = 4096;

/// How many inputs share one write of the checkpoint.
const BATCH_MAX: usize = 256;

/// How often a full or read-only disk is asked whether there is room again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// How many effects wait for room on the disk before no more inputs are taken.
const HELD_MAX: usize = 4096;

/// How long a stopping agent waits for the remains of its containers to go.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// What others bring to the driver.
#[derive(Debug)]
pub enum Input {
    /// For the core.
    Event(Event),
    /// A measurement, passed on to a master that has admitted the agent.
    Usage(link::Usage),
}

/// How the agent ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// An operator stopped it, and its tasks run on.
    TasksRunOn,
    /// An operator stopped it, and its tasks were killed.
    TasksKilled,
    /// The master does not want it any more, for this reason.
    Refused(String),
}

/// The owner of the core.
#[derive(Debug)]
pub struct Driver<C> {
    pub agent: Agent,
    pub clock: Clock,
    pub checkpoint: Checkpoint,
    pub inbox: mpsc::Receiver<Input>,
    pub back: mpsc::Sender<Input>,
    pub master: Settings,
    pub launcher: Launcher<C>,
    pub views: watch::Sender<Arc<View>>,
    /// No task gets a longer grace when the agent is stopped. `None`: stopping the agent leaves its tasks alone.
    pub kill_on_stop: Option<Duration>,
    pub link: Option<Link>,
    /// Nobody listened when the master was tried last.
    pub master_away: bool,
    /// What could not be written down yet, and what comes after it.
    pub held: Vec<Effect>,
    /// What the core was told of the disk.
    pub disk_full: bool,
}

impl<C: Containerizer + Clone> Driver<C> {
    /// Runs until the agent is stopped, or the master does not want it any more. `first` are the effects of the start.
    pub async fn run(
        mut self,
        first: Vec<Effect>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ending, CheckpointError> {
        tokio::pin!(shutdown);
        let mut stopping = false;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut room_again = interval(ROOM_AGAIN);
        room_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(ending) = self.let_out(first)? {
            return Ok(ending);
        }
        loop {
            let deadline =
                self.agent.next_deadline().map(|deadline| Instant::from_std(self.clock.instant(deadline)));
            tokio::select! {
                // `back` keeps the inbox open, so this never ends.
                _ = self.inbox.recv_many(&mut batch, BATCH_MAX), if self.held.len() < HELD_MAX => {}
                _ = room_again.tick(), if self.checkpoint.is_full() => self.checkpoint.make_room(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    batch.push(Input::Event(Event::Tick));
                }
                () = &mut shutdown, if !stopping => {
                    stopping = true;
                    let Some(cap) = self.kill_on_stop else { return Ok(Ending::TasksRunOn) };
                    info!(?cap, "killing all tasks, as the agent was asked to stop");
                    batch.push(Input::Event(Event::Stop { cap }));
                }
            }
            let mut inputs = batch.drain(..).peekable();
            loop {
                let effects = self.apply(&mut inputs);
                if let Some(ending) = self.let_out(effects)? {
                    self.launcher.finish(CLEAN_UP).await;
                    return Ok(ending);
                }
                if inputs.peek().is_none() {
                    break;
                }
            }
        }
    }

    /// Applies inputs until one of them brought a task: that is much to write, and whether there is room for another one
    /// shows when it is written.
    fn apply(&mut self, inputs: &mut impl Iterator<Item = Input>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = self.clock.now();
        self.tell_of_room(now, &mut effects);
        let large = |effect: &Effect| matches!(effect, Effect::Checkpoint(Record::TaskAccepted { .. }));
        while !effects.iter().any(large) {
            let Some(input) = inputs.next() else { break };
            match input {
                Input::Event(event) => {
                    narrate(&event);
                    if let Event::LinkClosed { refused, .. } = event {
                        self.master_away = refused;
                    }
                    if matches!(event, Event::FromMaster { message: FromMaster::Run { .. }, .. }) {
                        self.checkpoint.look_for_room();
                        self.tell_of_room(now, &mut effects);
                    }
                    self.agent.apply(now, event, &mut effects);
                }
                Input::Usage(usage) if self.agent.is_registered() => {
                    if let Some(link) = &self.link {
                        link.send_usage(wire::write_usage(usage));
                    }
                }
                Input::Usage(_) => {}
            }
        }
        effects
    }

    /// Tells the core when the disk has become full, or has room again.
    fn tell_of_room(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let full = self.checkpoint.is_full();
        if full == self.disk_full {
            return;
        }
        self.disk_full = full;
        let lacks = full.then(|| self.checkpoint.shortage());
        match &lacks {
            Some(shortage) => warn!(
                %shortage,
                "the disk of the work directory is full or read-only: no task is launched before there is room"
            ),
            None => info!("the disk of the work directory has room again"),
        }
        self.agent.apply(now, Event::Disk { lacks }, effects);
    }

    /// Writes the records, then carries out the rest in order. `Some`: the agent is over.
    fn let_out(&mut self, more: Vec<Effect>) -> Result<Option<Ending>, CheckpointError> {
        let mut effects = std::mem::take(&mut self.held);
        let waited = !effects.is_empty();
        effects.extend(more);
        let records = || {
            effects.iter().filter_map(|effect| match effect {
                Effect::Checkpoint(record) => Some(record),
                _ => None,
            })
        };
        if records().next().is_some() {
            records().filter_map(steps).for_each(|(decided, _)| reached(decided));
            match self.checkpoint.append(records()) {
                Ok(()) => {}
                Err(error) if error.is_blocked() => {
                    if !waited {
                        error!(
                            error = &error as &dyn std::error::Error,
                            "the disk takes nothing more: but for kills nothing is done or told before it does"
                        );
                    }
                    self.hold(effects);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            // The few records that outlive the boot come with an admission or a new master: a few milliseconds of
            // blocking that nobody waits for.
            if records().any(Record::must_outlive_boot) {
                self.checkpoint.sync()?;
            }
            records().filter_map(steps).for_each(|(_, written)| reached(written));
            self.checkpoint.compact_if_large(self.agent.state())?;
            self.views.send_if_modified(|view| {
                let mut fresh = View::clone(view);
                let changed = fresh.follow(self.agent.state(), records());
                if changed {
                    *view = Arc::new(fresh);
                }
                changed
            });
        }
        let mut ending = None;
        for effect in effects {
            debug!(%effect, "effect");
            match effect {
                Effect::Checkpoint(record) => report(&record),
                Effect::Connect { link } => {
                    let (master, inbox) = (self.master.clone(), self.back.clone());
                    self.link = Some(Link::open(link, master, self.master_away, inbox));
                }
                Effect::CloseLink { link, why } => {
                    warn!(link = link.0, why, "closing the link to the master");
                    self.link = None;
                }
                Effect::Send { link, message } => self.send(link, message),
                Effect::Launch(launch) => self.launcher.launch(*launch),
                Effect::Watch { container } => self.launcher.watch(container),
                Effect::Resize(resize) => self.launcher.resize(*resize),
                Effect::Measure { container, task } => {
                    self.launcher.measure(self.agent.state().agent.as_ref(), &task, container);
                }
                Effect::Signal { container, signal } => self.launcher.signal(container, signal),
                Effect::KillAll { container } => self.launcher.kill_all(container),
                Effect::Destroy { container } => self.launcher.destroy(container),
                Effect::Probe { container, round, check } => self.launcher.probe(container, round, *check),
                Effect::Exit { refused } => {
                    ending = Some(refused.map_or(Ending::TasksKilled, Ending::Refused));
                }
            }
        }
        Ok(ending)
    }

    /// Keeps effects until their records can be written, but for those that would come to harm by waiting. That the agent
    /// is alive relies on no record, nor does a check. A kill whose record a crash prevents is one that its master asks
    /// for again, or that is decided again; kept, SIGTERM would come together with the SIGKILL that ends its grace.
    fn hold(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { link, message: FromAgent::Heartbeat } => self.send(link, FromAgent::Heartbeat),
                Effect::Signal { container, signal } => self.launcher.signal(container, signal),
                Effect::KillAll { container } => self.launcher.kill_all(container),
                Effect::Probe { container, round, check } => self.launcher.probe(container, round, *check),
                effect => self.held.push(effect),
            }
        }
    }

    fn send(&mut self, to: bourse_agent_core::LinkId, message: FromAgent) {
        let is_end = matches!(&message, FromAgent::Update(update) if update.status.state.is_terminal());
        if let Some(link) = self.link.as_ref().filter(|link| link.id() == to) {
            wire::write(message).into_iter().for_each(|message| link.send(message));
        }
        if is_end {
            reached(Failpoint::EndSent);
        }
    }
}

/// The steps in a task's life that a record stands for: before it is written, and after.
fn steps(record: &Record) -> Option<(Failpoint, Failpoint)> {
    match record {
        Record::TaskAccepted { .. } => Some((Failpoint::TaskDecided, Failpoint::TaskWritten)),
        Record::TaskStarted { .. } => Some((Failpoint::StartDecided, Failpoint::StartWritten)),
        Record::CoresTaken { .. } => Some((Failpoint::CoresDecided, Failpoint::CoresWritten)),
        Record::ResizeBegun { .. } => Some((Failpoint::ResizeDecided, Failpoint::ResizeWritten)),
        Record::Resized { .. } => Some((Failpoint::ResizedDecided, Failpoint::ResizedWritten)),
        Record::ResizeRefused { .. } => Some((Failpoint::RefusalDecided, Failpoint::RefusalWritten)),
        Record::KillBegun { .. } => Some((Failpoint::KillDecided, Failpoint::KillWritten)),
        Record::UpdateMade { status, .. } if status.state.is_terminal() => {
            Some((Failpoint::EndDecided, Failpoint::EndWritten))
        }
        Record::UpdateAcknowledged { .. } => {
            Some((Failpoint::AcknowledgementDecided, Failpoint::AcknowledgementWritten))
        }
        Record::Admitted { .. }
        | Record::Described { .. }
        | Record::EpochSeen { .. }
        | Record::Booted { .. }
        | Record::FrameworkKnown { .. }
        | Record::FrameworkForgotten { .. }
        | Record::UpdateMade { .. }
        | Record::HealthSeen { .. }
        | Record::CoresApart { .. }
        | Record::TaskSilenced { .. }
        | Record::TaskForgotten { .. } => None,
    }
}

#[cfg(test)]
mod tests;
