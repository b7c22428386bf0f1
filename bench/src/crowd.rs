//! A framework whose tasks are launched all at once, by one ACCEPT, and when it saw what became of all of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bourse_sdk::{Calls, Event, Offer, Scheduler, Task};
use bourse_types::{Milli, Now, TaskId, TaskState, TaskStatus};
use tokio::sync::oneshot;

/// Memory of each task.
const MEM_MIB: u64 = 32;

/// The scheduler. Any message kills all tasks; when all have ended it tears its framework down.
pub struct Crowd {
    wanted: usize,
    argv: &'static [&'static str],
    tasks: Vec<TaskId>,
    running: BTreeSet<TaskId>,
    ended: BTreeSet<TaskId>,
    /// Who waits for all of them to run.
    waiting: Option<oneshot::Sender<()>>,
    accepted: Option<Instant>,
    all_running: Option<Instant>,
    killed: Option<Instant>,
    all_ended: Option<Instant>,
    wrong: Option<String>,
}

/// What a crowd took.
pub struct Took {
    /// From the accept to the last TASK_RUNNING.
    pub to_run: Duration,
    /// From the accept to the last end.
    pub to_end: Duration,
    /// From the first kill to the last end, if they were killed.
    pub to_die: Option<Duration>,
}

impl Crowd {
    /// So many tasks that run this. Who holds the receiver is told when all of them run.
    pub fn new(wanted: usize, argv: &'static [&'static str]) -> (Crowd, oneshot::Receiver<()>) {
        let (waiting, all_run) = oneshot::channel();
        let crowd = Crowd {
            wanted,
            argv,
            tasks: Vec::new(),
            running: BTreeSet::new(),
            ended: BTreeSet::new(),
            waiting: Some(waiting),
            accepted: None,
            all_running: None,
            killed: None,
            all_ended: None,
            wrong: None,
        };
        (crowd, all_run)
    }

    /// What it took, once its framework has ended.
    pub fn took(self) -> anyhow::Result<Took> {
        if let Some(wrong) = self.wrong {
            bail!("{wrong}");
        }
        let accepted = self.accepted.context("no task was launched")?;
        let all_running = self.all_running.context("some tasks ended without having been told to run")?;
        let all_ended = self.all_ended.context("the framework ended before its tasks")?;
        Ok(Took {
            to_run: all_running - accepted,
            to_end: all_ended - accepted,
            to_die: self.killed.map(|killed| all_ended - killed),
        })
    }

    fn on_offer(&mut self, mut offer: Offer, calls: &mut Calls) {
        if self.accepted.is_some() {
            return; // Which declines it.
        }
        for _ in 0..self.wanted {
            let id = calls.task_id("crowd");
            let words = self.argv.iter().copied();
            let task = Task::new(id.clone()).exec(words).cpus(Milli::whole(1)).mem_mib(MEM_MIB);
            if let Err(refused) = offer.launch(task) {
                // Otherwise those that fit would be launched.
                calls.decline(offer, Duration::ZERO);
                return self.give_up(refused.to_string(), calls);
            }
            self.tasks.push(id);
        }
        self.accepted = Some(Instant::now());
        calls.accept(offer);
    }

    fn on_update(&mut self, status: TaskStatus, calls: &mut Calls) {
        match status.state {
            TaskState::Running => {
                self.running.insert(status.task_id);
                if self.running.len() == self.wanted && self.all_running.is_none() {
                    self.all_running = Some(Instant::now());
                    if let Some(waiting) = self.waiting.take() {
                        let _ = waiting.send(()); // Nobody has to wait.
                    }
                }
            }
            TaskState::Finished | TaskState::Killed => {
                self.ended.insert(status.task_id);
                if self.ended.len() == self.wanted {
                    self.all_ended = Some(Instant::now());
                    calls.teardown();
                }
            }
            state if state.is_terminal() => {
                let why = status.message.unwrap_or_default();
                self.give_up(format!("the task {} is {state}: {why}", status.task_id), calls);
            }
            _ => {}
        }
    }

    fn kill_all(&mut self, calls: &mut Calls) {
        self.killed.get_or_insert_with(Instant::now);
        self.tasks.iter().for_each(|task| calls.kill(task));
    }

    fn give_up(&mut self, wrong: String, calls: &mut Calls) {
        self.wrong.get_or_insert(wrong);
        // Who waits need not wait any longer.
        self.waiting = None;
        calls.teardown();
    }
}

impl Scheduler for Crowd {
    type Message = ();

    fn on(&mut self, _now: Now, event: Event<()>, calls: &mut Calls) {
        match event {
            Event::Offer(offer) => self.on_offer(offer, calls),
            Event::Update(status) => self.on_update(status, calls),
            Event::Message(()) => self.kill_all(calls),
            Event::Error(text) => self.give_up(text, calls),
            _ => {} // A cluster of a minute, which nobody drains and nothing fails over.
        }
    }
}
