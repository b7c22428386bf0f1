//! Instances that shall run for ever, on machines that the author likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Task};
use bourse_types::{
    HealthCheck, HealthKind, KillPolicy, Milli, Mono, Now, Resources, Size, TaskId, TaskState,
};
use bytes::Bytes;

use super::{Pause, Poke, Roster};
use crate::machine::Program;
use crate::random::Random;

/// How many offers it looks at for an instance that shall have more.
const TRIES: u32 = 5;

/// Keeps so many instances running. It is picky: of each three offers in a row it declines up to two, for a moment.
#[derive(Debug)]
pub struct Service {
    count: usize,
    random: Random,
    /// Offers in a row.
    declined: u32,
    dying: BTreeSet<TaskId>,
    /// What instances have, as far as this life knows.
    sizes: BTreeMap<TaskId, Resources>,
    /// So many more offers are looked at for an instance that shall have more.
    growing: u32,
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
            sizes: BTreeMap::new(),
            growing: 0,
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
                if let Some(size) = &status.size {
                    self.sizes.insert(status.task_id.clone(), size.resources.clone());
                }
                let over = self.roster.heard(&status, calls);
                if let Some(_instance) = over {
                    self.dying.remove(&status.task_id);
                    self.sizes.remove(&status.task_id);
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
            Event::Message(Poke::Resize) => self.resizes(calls),
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
        if self.grows(&mut offer) {
            return calls.accept(offer);
        }
        if missing == 0 {
            return match self.growing {
                0 => calls.suppress(),
                _ => calls.decline(offer, Duration::from_secs(3)),
            };
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
                self.sizes.insert(placed.task.clone(), placed.resources.clone());
                self.roster.launched(&placed, "instance", calls);
            }
        }
        calls.accept(offer);
    }

    /// The instances that run, and of which it is known what they have.
    fn sized(&self) -> Vec<(TaskId, Resources)> {
        let running = self.roster.iter().filter(|(_, member)| member.state == Some(TaskState::Running));
        running.filter_map(|(task, _)| Some((task.clone(), self.sizes.get(task)?.clone()))).collect()
    }

    /// Takes something from one instance, or looks for more for one.
    fn resizes(&mut self, calls: &mut Calls) {
        if self.random.chance(0.5) {
            self.growing = TRIES;
            return calls.revive();
        }
        let (sized, some) = (self.sized(), "cpus:0.1".parse().expect("valid"));
        let less = |(task, has): &(TaskId, Resources)| Some((task.clone(), has.checked_sub(&some)?));
        // Nothing can be without processors at all.
        let less: Vec<_> =
            sized.iter().filter_map(less).filter(|(_, less)| less.cpus() > Milli::ZERO).collect();
        if let Some((task, less)) = self.random.pick(&less) {
            calls.shrink(task, Size::of(less.clone()));
        }
    }

    /// Gives an instance on the agent of this offer more. Whether it did.
    fn grows(&mut self, offer: &mut Offer) -> bool {
        if self.growing == 0 {
            return false;
        }
        self.growing -= 1;
        let here = |task: &TaskId| {
            self.roster.iter().any(|(known, member)| known == task && member.agent == *offer.agent())
        };
        let Some((task, has)) = self.sized().into_iter().find(|(task, _)| here(task)) else { return false };
        let more = "cpus:0.35".parse().expect("valid");
        let grows = offer.resize(&task, &has, &more, BTreeMap::new()).is_ok();
        if grows {
            self.growing = 0;
        }
        grows
    }

    fn trim(&mut self, calls: &mut Calls) {
        let present = self.present();
        for task in present.into_iter().skip(self.count) {
            calls.kill_with(&task, KillPolicy { grace: Some(Duration::from_secs(2)) });
            self.dying.insert(task);
        }
    }
}
