//! The one task that owns the core.
//!
//! It takes a batch of inputs, applies each, writes what must survive, and only then lets the effects out. A checkpoint
//! that cannot be written stops the agent before anything was said: its tasks run on, and the next agent finds them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bourse_agent_core::{Agent, Effect, Event, FromAgent, FromMaster, Record};
use bourse_client::Settings;
use bourse_containerizer::Containerizer;
use bourse_proto::agent_link as link;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::launcher::Launcher;
use crate::session::Link;
use crate::view::View;
use crate::wire;

/// So many inputs wait for the driver; who brings more waits too.
pub const INBOX_MAX: usize = 4096;

/// So many inputs share one write of the checkpoint.
const BATCH_MAX: usize = 256;

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
        if let Some(ending) = self.let_out(first)? {
            return Ok(ending);
        }
        loop {
            let deadline =
                self.agent.next_deadline().map(|deadline| Instant::from_std(self.clock.instant(deadline)));
            tokio::select! {
                // `back` keeps the inbox open, so this never ends.
                _ = self.inbox.recv_many(&mut batch, BATCH_MAX) => {}
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
            let effects = self.apply(&mut batch);
            if let Some(ending) = self.let_out(effects)? {
                self.launcher.finish(CLEAN_UP).await;
                return Ok(ending);
            }
        }
    }

    fn apply(&mut self, batch: &mut Vec<Input>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = self.clock.now();
        for input in batch.drain(..) {
            match input {
                Input::Event(event) => {
                    narrate(&event);
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

    /// Writes the records, then carries out the rest in order. `Some`: the agent is over.
    fn let_out(&mut self, effects: Vec<Effect>) -> Result<Option<Ending>, CheckpointError> {
        let records = || {
            effects.iter().filter_map(|effect| match effect {
                Effect::Checkpoint(record) => Some(record),
                _ => None,
            })
        };
        if records().next().is_some() {
            self.checkpoint.append(records())?;
            // The few records that outlive the boot come with an admission or a new master: a few milliseconds of
            // blocking that nobody waits for.
            if records().any(Record::must_outlive_boot) {
                self.checkpoint.sync()?;
            }
            self.checkpoint.compact_if_large(self.agent.state())?;
            self.views.send_if_modified(|view| {
                let fresh = View::of(self.agent.state());
                let changed = **view != fresh;
                *view = Arc::new(fresh);
                changed
            });
        }
        let mut ending = None;
        for effect in effects {
            debug!(%effect, "effect");
            match effect {
                Effect::Checkpoint(record) => report(&record),
                Effect::Connect { link } => {
                    self.link = Some(Link::open(link, self.master.clone(), self.back.clone()));
                }
                Effect::CloseLink { link, why } => {
                    warn!(link = link.0, why, "closing the link to the master");
                    self.link = None;
                }
                Effect::Send { link, message } => self.send(link, message),
                Effect::Launch(launch) => self.launcher.launch(*launch),
                Effect::Watch { container } => self.launcher.watch(container),
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

    fn send(&mut self, to: bourse_agent_core::LinkId, message: FromAgent) {
        if let Some(link) = self.link.as_ref().filter(|link| link.id() == to) {
            wire::write(message).into_iter().for_each(|message| link.send(message));
        }
    }
}

/// One line for what an operator would ask about.
fn narrate(event: &Event) {
    match event {
        Event::FromMaster { epoch, message: FromMaster::Registered { agent, master, known, .. }, .. } => {
            info!(agent_id = %agent, master_id = %master, %epoch, known = known.len(), "registered with the master");
        }
        Event::FromMaster { message: FromMaster::Refused { reason, message, shut_down }, .. } => {
            warn!(reason, why = message, shut_down, "the master refused this agent");
        }
        Event::FromMaster { message: FromMaster::Run { assignment, .. }, .. } => {
            info!(framework_id = %assignment.key.framework, task_id = %assignment.key.task, "a task is to run");
        }
        Event::FromMaster { message: FromMaster::Kill { task, reason, .. }, .. } => {
            info!(framework_id = %task.framework, task_id = %task.task, ?reason, "a task is to be killed");
        }
        Event::FromMaster { message: FromMaster::ShutdownFramework { framework }, .. } => {
            info!(framework_id = %framework, "a framework is shut down");
        }
        other => debug!(event = ?other, "event"),
    }
}

/// One line for each new state of a task.
fn report(record: &Record) {
    if let Record::UpdateMade { task, status } = record {
        info!(
            framework_id = %task.framework,
            task_id = %task.task,
            state = %status.state,
            reason = status.reason.map(|reason| reason.as_str()),
            why = status.message,
            healthy = status.healthy,
            "task"
        );
    }
}
