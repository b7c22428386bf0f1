//! Jobs that have to be done once each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Task};
use bourse_types::{HealthCheck, HealthKind, Milli, Mono, Now, TaskState, TaskStatus};
use bytes::Bytes;

use super::{Job, Pause, Poke, Roster};

/// Launches what is not done and not under way; a job whose attempt did not finish is attempted again.
#[derive(Debug)]
pub struct Batch {
    jobs: Vec<Job>,
    done: BTreeSet<String>,
    attempted: BTreeSet<String>,
    pause: Pause,
    pub(super) roster: Roster,
}

impl Batch {
    /// As the driver kept it.
    pub fn new(jobs: Vec<Job>, memory: &BTreeMap<String, Bytes>) -> Batch {
        let named = |prefix: &str| {
            memory.keys().filter_map(|key| key.strip_prefix(prefix)).map(str::to_owned).collect()
        };
        Batch {
            jobs,
            done: named("done/"),
            attempted: named("attempted/"),
            pause: Pause::default(),
            roster: Roster::remember(memory),
        }
    }

    /// The jobs that are not done.
    pub fn wants(&self) -> Vec<String> {
        let open = self.jobs.iter().filter(|job| !self.done.contains(&job.name));
        open.map(|job| format!("{} is not done", job.name)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.pause.deadline()
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        match event {
            Event::Subscribed { .. } => self.ask(calls),
            Event::Deadline if self.pause.ends(now) => self.ask(calls),
            Event::Offer(offer) if self.pause.lasts() => calls.decline(offer, Duration::from_secs(5)),
            Event::Offer(offer) => self.offered(offer, calls),
            Event::Update(status) => self.updated(now, &status, calls),
            _ => {}
        }
    }

    fn ask(&self, calls: &mut Calls) {
        match self.waiting().is_empty() {
            true => calls.suppress(),
            false => calls.revive(),
        }
    }

    fn waiting(&self) -> Vec<Job> {
        let under_way: BTreeSet<&str> =
            self.roster.iter().map(|(_, member)| member.purpose.as_str()).collect();
        let waits = |job: &&Job| !self.done.contains(&job.name) && !under_way.contains(job.name.as_str());
        self.jobs.iter().filter(waits).cloned().collect()
    }

    fn offered(&mut self, mut offer: Offer, calls: &mut Calls) {
        for job in self.waiting() {
            let again = self.attempted.contains(&job.name);
            let program = if again { job.again } else { job.first };
            let mut task = Task::new(calls.task_id(&job.name))
                .command(program.to_string())
                .cpus(Milli::new(job.cpus))
                .mem_mib(job.mem)
                .ports(job.ports)
                .grace(Duration::from_secs(3))
                .max_completion_time(Duration::from_secs(40));
            if program.greedy {
                task = task.disk_mib(10);
            }
            if program.sick {
                task = task.health(HealthCheck {
                    delay: Duration::ZERO,
                    interval: Duration::from_secs(1),
                    grace_period: Duration::ZERO,
                    ..HealthCheck::new(HealthKind::Tcp { port: 80 })
                });
            }
            if let Ok(placed) = offer.launch(task) {
                self.roster.launched(&placed, &job.name, calls);
                if self.attempted.insert(job.name.clone()) {
                    calls.save(format!("attempted/{}", job.name), Bytes::new());
                }
            }
        }
        match offer.tasks().is_empty() {
            false => calls.accept(offer),
            true => calls.decline(offer, Duration::from_secs(5)),
        }
        self.suppress_when_idle(calls);
    }

    fn suppress_when_idle(&self, calls: &mut Calls) {
        if self.waiting().is_empty() {
            calls.suppress();
        }
    }

    fn updated(&mut self, now: Now, status: &TaskStatus, calls: &mut Calls) {
        let finished = status.state == TaskState::Finished;
        // First that it is done, then that it is over: a life that begins between the two does it once.
        if let Some((_, member)) =
            self.roster.iter().find(|(task, _)| **task == status.task_id).filter(|_| finished)
        {
            calls.save(format!("done/{}", member.purpose), Bytes::new());
            self.done.insert(member.purpose.clone());
        }
        let paused = self.pause.begins(now, status);
        if self.roster.heard(status, calls).is_some() && !finished && !paused {
            calls.revive();
        }
    }
}
