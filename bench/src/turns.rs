//! A framework whose tasks run one after another, and when it saw what became of each.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail};
use bourse_sdk::{Calls, Event, Framework, Offer, Scheduler, Task};
use bourse_types::{FrameworkId, Milli, Now, TaskId, TaskState, TaskStatus};
use tokio::time::timeout;

use crate::cluster::PATIENCE;

/// The life of one task, as its framework saw it.
pub struct Turn {
    /// In the work directory of the agent, where Mesos has it.
    pub sandbox: PathBuf,
    /// When its offer was accepted.
    pub accepted: Instant,
    /// When it was told to run.
    pub running: Instant,
    /// When it was told to have finished.
    pub finished: Instant,
    /// The same by the clock that the task has, too.
    pub finished_at: SystemTime,
}

/// What each task is.
pub struct Work<'a> {
    /// Program and arguments.
    pub argv: &'a [&'a str],
    /// Memory in MiB.
    pub mem_mib: u64,
}

/// Runs so many tasks, each with a cpu, and tears the framework down. Each must finish. `between` is done after each of
/// them, when nothing else goes on: the round of a floor.
pub async fn run(
    framework: Framework,
    wanted: usize,
    work: Work<'_>,
    between: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Turn>> {
    let turns = Turns { wanted, work, between, framework: None, alive: None, turns: Vec::new(), wrong: None };
    let ended = timeout(PATIENCE, framework.run(turns)).await;
    let turns = ended.with_context(|| format!("{wanted} tasks had no turn each within {PATIENCE:?}"))??;
    match turns.wrong {
        Some(wrong) => bail!("{wrong}"),
        None => Ok(turns.turns),
    }
}

struct Turns<'a, F> {
    wanted: usize,
    work: Work<'a>,
    between: F,
    framework: Option<FrameworkId>,
    alive: Option<Alive>,
    turns: Vec<Turn>,
    wrong: Option<String>,
}

/// The task whose turn it is.
struct Alive {
    task: TaskId,
    sandbox: PathBuf,
    accepted: Instant,
    running: Option<Instant>,
}

impl<F: FnMut() -> anyhow::Result<()>> Turns<'_, F> {
    fn on_offer(&mut self, mut offer: Offer, calls: &mut Calls) {
        let Some(framework) = &self.framework else { return };
        if self.alive.is_some() || self.turns.len() == self.wanted {
            return; // Which declines it.
        }
        let task = calls.task_id("turn");
        let agent = offer.agent();
        let sandbox = format!("slaves/{agent}/frameworks/{framework}/executors/{task}/runs/latest").into();
        let words = self.work.argv.iter().copied();
        let launched = Task::new(task.clone()).exec(words).cpus(Milli::whole(1)).mem_mib(self.work.mem_mib);
        if let Err(refused) = offer.launch(launched) {
            return self.give_up(refused.to_string(), calls);
        }
        self.alive = Some(Alive { task, sandbox, accepted: Instant::now(), running: None });
        calls.accept(offer);
    }

    fn on_update(&mut self, status: TaskStatus, calls: &mut Calls) {
        let (seen, seen_at) = (Instant::now(), SystemTime::now());
        let Some(alive) = self.alive.as_mut().filter(|alive| alive.task == status.task_id) else { return };
        match status.state {
            TaskState::Running => {
                alive.running.get_or_insert(seen);
            }
            TaskState::Finished => {
                if let Some(alive) = self.alive.take() {
                    self.turns.push(Turn {
                        sandbox: alive.sandbox,
                        accepted: alive.accepted,
                        running: alive.running.unwrap_or(seen),
                        finished: seen,
                        finished_at: seen_at,
                    });
                }
                if let Err(error) = (self.between)() {
                    return self.give_up(format!("{error:#}"), calls);
                }
                match self.turns.len() == self.wanted {
                    true => calls.teardown(),
                    // What was left of the last offer was declined.
                    false => calls.revive(),
                }
            }
            state if state.is_terminal() => {
                let why = status.message.unwrap_or_default();
                self.give_up(format!("the task {} is {state}: {why}", status.task_id), calls);
            }
            _ => {}
        }
    }

    fn give_up(&mut self, wrong: String, calls: &mut Calls) {
        self.wrong.get_or_insert(wrong);
        calls.teardown();
    }
}

impl<F: FnMut() -> anyhow::Result<()>> Scheduler for Turns<'_, F> {
    type Message = ();

    fn on(&mut self, _now: Now, event: Event<()>, calls: &mut Calls) {
        match event {
            Event::Subscribed { framework, .. } => self.framework = Some(framework),
            Event::Offer(offer) => self.on_offer(offer, calls),
            Event::Update(status) => self.on_update(status, calls),
            Event::Error(text) => self.give_up(text, calls),
            _ => {} // A cluster of a minute, which nobody drains and nothing fails over.
        }
    }
}
