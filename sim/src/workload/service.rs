//! Instances that shall run for ever, on machines that the author likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Task};
use bourse_types::{HealthCheck, HealthKind, KillPolicy, Milli, Mono, Now, TaskId, TaskState};
use bytes::Bytes;

use super::{Pause, Poke, Roster};
use crate::machine::Program;
use crate::random::Random;

/// Keeps so many instances running. It is picky: of each three offers in a row it declines up to two, for a moment.
#[derive(Debug)]
pub struct Service {
    count: usize,
    random: Random,
    /// Offers in a row.
    declined: u32,
    dying: BTreeSet<TaskId>,
    pause: Pause,
    pub(super) roster: Roster,
}

impl Service {
    /// As the driver kept it.
    pub fn new(count: usize, memory: &BTreeMap<String, Bytes>, random: Random) -> Service {
        let kept = memory.get("count").and_then(|count| count.first()).map(|count| usize::from(*count));
        Service {
            count: kept.unwrap_or(count),
            random,
            declined: 0,
            dying: BTreeSet::new(),
            pause: Pause::default(),
            roster: Roster::remember(memory),
        }
    }

    /// What is missing or too much.
    pub fn wants(&self) -> Vec<String> {
        let running =
            self.roster.iter().filter(|(_, member)| member.state == Some(TaskState::Running)).count();
        if running == self.count && self.roster.len() == self.count {
            return Vec::new();
        }
        vec![format!("{running} of {} instances run, {} are there", self.count, self.roster.len())]
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.pause.deadline()
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        match event {
            Event::Deadline if self.pause.ends(now) => calls.revive(),
            Event::Offer(offer) if self.pause.lasts() => calls.decline(offer, Duration::from_secs(3)),
            Event::Offer(offer) => self.offered(offer, calls),
            Event::Update(status) => {
                let paused = self.pause.begins(now, &status);
                let over = self.roster.heard(&status, calls);
                if let Some(_instance) = over {
                    self.dying.remove(&status.task_id);
                    if !paused {
                        calls.revive();
                    }
                }
            }
            Event::Message(Poke::Scale(count)) => {
                self.count = count;
                calls.save("count", vec![count as u8]);
                calls.revive();
            }
            Event::Message(Poke::LetGo) => {}
            Event::Subscribed { .. } => calls.revive(),
            _ => {}
        }
        self.trim(calls);
    }

    /// One that is unreachable does not count: it is replaced, and is one too many when it comes back.
    fn present(&self) -> Vec<TaskId> {
        let present = self.roster.iter().filter(|(task, member)| {
            member.state != Some(TaskState::Unreachable) && !self.dying.contains(*task)
        });
        present.map(|(task, _)| task.clone()).collect()
    }

    fn offered(&mut self, mut offer: Offer, calls: &mut Calls) {
        let missing = self.count.saturating_sub(self.present().len());
        if missing == 0 {
            calls.suppress();
            return;
        }
        let declines = self.declined < 2 && self.random.chance(0.6);
        self.declined = if declines { self.declined + 1 } else { 0 };
        if declines {
            return calls.decline(offer, Duration::from_secs(3));
        }
        for _ in 0..missing {
            let sick = self.random.chance(0.1);
            let program =
                Program { runs: None, code: 0, stubborn: self.random.chance(0.3), sick, greedy: false };
            let check = HealthCheck {
                delay: Duration::from_secs(1),
                interval: Duration::from_secs(20),
                ..HealthCheck::new(HealthKind::Tcp { port: 80 })
            };
            let task = Task::new(calls.task_id("instance"))
                .command(program.to_string())
                .cpus(Milli::new(300))
                .mem_mib(64)
                .ports(1)
                .health(check);
            if let Ok(placed) = offer.launch(task) {
                self.roster.launched(&placed, "instance", calls);
            }
        }
        calls.accept(offer);
    }

    fn trim(&mut self, calls: &mut Calls) {
        let present = self.present();
        for task in present.into_iter().skip(self.count) {
            calls.kill_with(&task, KillPolicy { grace: Some(Duration::from_secs(2)) });
            self.dying.insert(task);
        }
    }
}
